"""A page that is here is read without any allocation: by Python, by the accelerator or by the C library."""

import os
import shutil
import subprocess
import sys

import pytest

from graft_sqlite_vfs.readpath import Pure
from graft_sqlite_vfs.registration import READ_PATH

COMPILER = shutil.which("cc")
COUNTING = """
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static _Atomic long count;
long allocations(void) { return count; }
void *malloc(size_t size) { count++; return __libc_malloc(size); }
void *calloc(size_t items, size_t size) { count++; return __libc_calloc(items, size); }
void *realloc(void *old, size_t size) { count++; return __libc_realloc(old, size); }
"""
SCRIPT = """
import ctypes, sys
from graft_sqlite_vfs import connect

connection = connect(sys.argv[1], remote="memory://allocations")
connection.execute("PRAGMA cache_size=20")
pages = {}
for table, count in (("few", 300), ("many", 1500)):
    connection.execute(f"CREATE TABLE {table}(v)")
    connection.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
        f"INSERT INTO {table} SELECT zeroblob(2500) FROM n"
    )
allocations = ctypes.CDLL(None).allocations

def taken(table):
    for _ in range(3):
        before = allocations()
        connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        after = allocations()
    return after - before

print(taken("few"), taken("many"))
"""


@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C compiler, and glibc's allocator")
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="something else, a sanitizer say, counts already")
@pytest.mark.skipif(isinstance(READ_PATH, Pure), reason=f"the read path is {READ_PATH}")
def test_a_scan_of_more_pages_allocates_no_more(tmp_path):
    source, library = tmp_path / "counting.c", tmp_path / "counting.so"
    source.write_text(COUNTING)
    subprocess.run([COMPILER, "-O1", "-fPIC", "-shared", source, "-o", library], check=True)
    environment = {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "db"], env=environment, capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    assert 0 < few < 300, "the statement itself allocates, but not for each of 300 pages"
    assert many == few
