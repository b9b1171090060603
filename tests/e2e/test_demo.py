"""The demo, on every kind of remote: what a newcomer runs first must work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


def run_demo(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "examples.demo", *arguments],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def passed(done):
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("demo: ok")
    return done.stdout


def test_with_a_directory_of_its_own():
    output = passed(run_demo())
    assert "identical to the imported file" in output
    assert "7. Pull in the second replica: page lists" in output


def test_with_a_directory_twice(tmp_path):
    passed(run_demo("--remote", str(tmp_path / "remote")))
    passed(run_demo("--remote", str(tmp_path / "remote")))


@pytest.mark.parametrize("server", ["s3_moto_url", "seaweedfs_url", "minio_url"])
def test_with_s3(server, request):
    url = request.getfixturevalue(server)
    address, _, endpoint = url.partition("?endpoint=")
    passed(run_demo("--remote", address, AWS_ENDPOINT_URL=endpoint))


def test_a_bucket_that_is_not_there(s3_moto_url):
    _address, _, endpoint = s3_moto_url.partition("?endpoint=")
    done = run_demo("--remote", "s3://no-such-bucket/prefix", AWS_ENDPOINT_URL=endpoint)
    assert done.returncode == 1
    assert done.stderr.startswith("demo: failed:")
    assert "no-such-bucket" in done.stderr
    assert "Traceback" not in done.stderr
