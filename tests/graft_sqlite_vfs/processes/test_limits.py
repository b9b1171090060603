"""What a process has too little of: one error that names the limit, nothing left behind, and the next try works."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from graft.errors import LimitReached, local_errors, remote_errors
from graft_sqlite_vfs.readpath import VARIABLE
from pagestore.limits import limit_reached
from tests.graft.support import fast_directory

_MAPS_MAX = 200_000
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("pure", ["0", "1"], ids=["accelerated", "pure"])
@pytest.mark.parametrize("mode", ["descriptors", "replicas", "memory", "maps", "threads"])
def test_what_runs_out_is_named_and_the_next_transaction_works(mode, pure):
    if mode == "memory" and not Path("/proc/self/statm").exists():
        pytest.skip("nothing tells how much memory this process has mapped")
    if mode == "replicas" and resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1024:
        pytest.skip("this process may not have 1024 files open")
    if mode in {"memory", "maps"} and "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("a sanitizer takes all the address space, and maps memory itself")
    maps = Path("/proc/sys/vm/max_map_count")
    if mode == "maps" and not (maps.exists() and int(maps.read_text()) <= _MAPS_MAX):
        pytest.skip("mapping as many files as this process may takes too long")
    with fast_directory() as directory:
        done = subprocess.run(
            [sys.executable, "-m", "tests.graft_sqlite_vfs.processes.limit_worker", mode, directory],
            cwd=ROOT, env={**os.environ, VARIABLE: pure}, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("border", [local_errors, remote_errors])
@pytest.mark.parametrize(
    ("error", "named"),
    [(MemoryError(), "vm.max_map_count"), (OSError(12, "Cannot allocate memory"), "RLIMIT_AS"),
     (OSError(24, "Too many open files"), "RLIMIT_NOFILE"), (OSError(23, "Too many open files"), "fs.file-max")],
)  # fmt: skip
def test_each_limit_is_named(border, error, named):
    if border is remote_errors and isinstance(error, OSError):
        pytest.skip("stores translate these")
    with pytest.raises(LimitReached, match=named), border("doing it"):
        raise error


def test_causes_are_looked_through_and_other_errors_are_no_limits():
    error = ValueError("could not connect")
    error.__context__ = OSError(24, "Too many open files")
    assert "RLIMIT_NOFILE" in limit_reached(error)
    assert "ulimit -u" in limit_reached(RuntimeError("can't start new thread"))
    assert "RLIMIT_NOFILE" in limit_reached(Exception("error trying to connect: Too many open files (os error 24)"))
    assert limit_reached(OSError(28, "No space left on device")) is None
    assert limit_reached(ValueError("no")) is None
    assert limit_reached(None) is None
