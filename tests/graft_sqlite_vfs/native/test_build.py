"""The C sources: no warning under strict flags, SQLite's binary interface as in its own headers, nothing exported."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

NATIVE = Path(__file__).parents[3] / "graft_sqlite_vfs" / "native"
COMPILER = shutil.which("gcc") or shutil.which("clang")
STRICT = [
    "-std=c11", "-O2", "-Werror", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wcast-qual",
    "-Wpointer-arith", "-Wundef", "-Wvla", "-fvisibility=hidden", "-fPIC",
]  # fmt: skip

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler here")


def compiled(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([COMPILER, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def headers() -> Path:
    found = Path(sysconfig.get_paths()["include"])
    if not (found / "Python.h").exists():
        pytest.skip("Python's headers are not installed")
    return found


def test_no_warning_under_strict_flags(headers, tmp_path):
    done = compiled(
        *STRICT, "-shared", "-pthread", "-isystem", headers, *NATIVE.glob("*.c"), "-o", tmp_path / "accelerator.so"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_exported_but_entry_points(headers, tmp_path):
    if shutil.which("nm") is None:
        pytest.skip("no nm here")
    library = tmp_path / "accelerator.so"
    assert compiled(*STRICT, "-shared", "-isystem", headers, *NATIVE.glob("*.c"), "-o", library).returncode == 0
    listed = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].lstrip("_") for line in listed.splitlines() if " T " in line}
    assert names - {"init", "fini"} == {"PyInit__accelerator", "sqlite3_graftapsw_init", "sqlite3_extension_init"}


def test_the_binary_interface_is_the_one_of_sqlites_headers():
    source = Path(__file__).with_name("sqlite_abi_check.c")
    probe = subprocess.run(
        [COMPILER, "-E", "-x", "c", "-"], input="#include <sqlite3ext.h>\n", capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip("SQLite's headers are not installed")
    done = compiled("-std=c11", "-fsyntax-only", "-I", NATIVE, source)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("file", "ours", "theirs", "told"),
    [
        ("record.c", "VERSION = 1", "VERSION = 2", "RECORD_LAYOUT"),
        ("record.c", "SYNCED = 1, AFTER_SYNCED = 2", "SYNCED = 2, AFTER_SYNCED = 1", "RECORD_LAYOUT"),
        ("record.c", "out + 12, header->page_size, 4", "out + 12, header->page_size, 2", "RECORD_LAYOUT"),
        ("record.c", "header->byte_size,\n", "header->timestamp_us,\n", "RECORD_LAYOUT"),
        ("record.h", "RECORD_ALIGNMENT = 8", "RECORD_ALIGNMENT = 16", "RECORD_LAYOUT"),
        ("reader.h", "APPENDING = 3, WORD_IN_DOUBT = 4", "APPENDING = 4, WORD_IN_DOUBT = 3", "COUNTER_LAYOUT"),
        ("location.h", "LOCATION_SLOT_BITS = 16", "LOCATION_SLOT_BITS = 15", "LOCATION_LAYOUT"),
    ],
)  # fmt: skip
def test_a_layout_that_is_not_pythons_is_refused(headers, tmp_path, file, ours, theirs, told):
    """What C and Python both know is compared when the accelerator is loaded: one of them may be of another release."""
    sources = shutil.copytree(NATIVE, tmp_path / "native")
    text = (sources / file).read_text()
    assert text.count(ours) == 1
    (sources / file).write_text(text.replace(ours, theirs))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "__init__.py").touch()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = tmp_path / "other" / f"_accelerator{suffix}"
    done = compiled("-std=c11", "-shared", "-fPIC", "-pthread", "-isystem", headers, *sources.glob("*.c"), "-o", built)
    assert (done.returncode, done.stderr) == (0, "")
    program = "from graft_sqlite_vfs import readpath; print(readpath.available('other._accelerator'))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    environment.pop("GRAFT_PURE", None)
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert f"built from other sources ({told})" in found
    assert "install graft again" in found


def test_an_accelerator_of_an_earlier_build_does_not_outlive_a_failed_one(headers, tmp_path):
    """Python would load it although the sources are others; that it is left out is told, with the reason."""
    pytest.importorskip("setuptools", reason="nothing builds extensions here")
    shutil.copy(NATIVE.parents[1] / "setup.py", tmp_path)
    sources = shutil.copytree(NATIVE, tmp_path / "graft_sqlite_vfs" / "native")
    stale = sources.parent / f"_accelerator{sysconfig.get_config_var('EXT_SUFFIX')}"
    stale.write_bytes(b"of an earlier build")
    (sources / "record.c").write_text("#error broken on purpose\n")
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "broken on purpose" in done.stderr
    assert "graft: the accelerator was not built" in done.stderr
    assert not stale.exists()
