"""Every page of the documentation does what it says: its blocks are run as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from testbed import s3_servers
from testbed.shared_server import shared_server
from tests.docs.pages import ROOT, RUN, blocks, indented, name, pages

BUCKETS = ("bucket", "my-bucket")
COMMAND = re.compile(r"(graft|python3?|pip|git|make|curl|npm|export|cd|echo) ")
TIMEOUT_S = 300


def each_page():
    return pytest.mark.parametrize("page", pages(), ids=name)


def pages_that_run():
    return [page for page in pages() if any(block.is_run for block in blocks(page))]


@each_page()
def test_nothing_to_paste_has_a_prompt(page):
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        assert not re.match(r"\s*(\$|>>>|\.\.\.) \S", line), f"{name(page)}:{number}: {line}"


@each_page()
def test_commands_stand_in_blocks_that_are_run(page):
    for number, line in indented(page):
        assert not COMMAND.match(line), f"{name(page)}:{number}: a command in a block that is not run"
    for block in blocks(page):
        if block.language not in RUN:
            assert not COMMAND.match(block.text), f"{name(page)}:{block.line}: name the block's language"


@each_page()
def test_python_compiles(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, f"{name(page)}:{block.line}", "exec")


@each_page()
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        assert re.match(r"[a-z]+:", target) or (page.parent / target).exists(), f"{name(page)}: {target}"


@each_page()
def test_no_page_installs_another_project(page):
    """The name `graft` on the package index is another project's."""
    said = page.read_text()
    assert not re.search(r"pip3? install (-\S+ )*['\"]?graft\b", said)
    assert "pip install --group" not in said or "25.1" in said


def test_no_message_installs_another_project():
    for path in [*ROOT.glob("*/**/*.py"), *ROOT.glob("scripts/*")]:
        if path.is_file() and not {".venv", "tests", ".cache"} & set(path.relative_to(ROOT).parts):
            assert not re.search(r"pip install ['\"]?graft\b", path.read_text(errors="replace")), path


@pytest.fixture
def surroundings(tmp_path):
    """A directory to work in, and the variables of a shell in which graft is installed."""
    home = tmp_path / "home"
    home.mkdir()
    variables = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
    }
    return tmp_path, variables


@pytest.mark.parametrize("page", pages_that_run(), ids=name)
def test_a_page_runs_as_it_is_printed(page, surroundings, request):
    directory, variables = surroundings
    work = directory / "work"
    work.mkdir()
    if any("s3://" in block.text for block in blocks(page) if block.is_run):
        variables |= request.getfixturevalue("bucket_server")
    ran = subprocess.run(
        [sys.executable, Path(__file__).with_name("run_page.py"), page],
        cwd=work, env=variables, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, f"{ran.stdout[-6000:]}\n{ran.stderr[-6000:]}"


@pytest.fixture
def bucket_server(tmp_path):
    """A server of one's own, with the buckets of the pages; the variables that name it."""
    with shared_server(tmp_path / "moto", s3_servers.moto()) as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint)
        for bucket in BUCKETS:
            client.create_bucket(Bucket=bucket)
        client.close()
        yield s3_servers.FAKE_AWS | {"AWS_ENDPOINT_URL": endpoint}
