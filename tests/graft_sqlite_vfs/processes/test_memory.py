"""Memory is bounded by the volume's pages, not by what a transaction writes."""

import subprocess
import sys

import pytest

MEGABYTES = 1000
SCRIPT = """
import os, sys, threading
from testbed.memory import rss_anon_bytes
from graft_sqlite_vfs import connect

peak, going = 0, True

def watch():
    global peak
    while going:
        peak = max(peak, rss_anon_bytes(os.getpid()))
        threading.Event().wait(0.01)

watcher = threading.Thread(target=watch)
watcher.start()
connection = connect(sys.argv[1] + "/db", remote=f"file://{sys.argv[1]}/remote#db")
connection.execute("CREATE TABLE files(id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
with connection:
    for _ in range(int(sys.argv[2]) * 10):
        connection.execute("INSERT INTO files(body) VALUES (randomblob(100000))")
connection.execute("PRAGMA graft_push").fetchall()
pages = connection.pragma("page_count")
going = False
watcher.join()
print(peak, pages)
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what no file backs")
def test_a_transaction_of_a_gigabyte(tmp_path):
    """Written and pushed by a process that has 64 MiB, and 12 bytes for each page of the volume."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path, str(MEGABYTES)],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    peak, pages = map(int, done.stdout.split())
    assert pages * 4096 > MEGABYTES * 1_000_000
    assert peak <= 64 * 2**20 + 12 * pages
