"""`graft shell` and `graft sql`: Ctrl-C, and transactions that are left open."""

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from graft_cli.exitcodes import ExitCode
from tests.graft_cli.test_executable import GRAFT, TIMEOUT_S, heed_ctrl_c

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
LOST = "graft: a transaction was still open: its changes are rolled back (use COMMIT)\n"


def count(graft, replica):
    return graft("sql", replica, "SELECT count(*) FROM towns", "--csv").lines[1]


class Terminal:
    """A shell at a terminal."""

    def __init__(self, *args):
        self.fd, end = pty.openpty()
        self.process = subprocess.Popen(
            [GRAFT, "shell", *map(str, args)],
            stdin=end,
            stdout=end,
            stderr=end,
            env=os.environ | {"TERM": "dumb", "HOME": str(Path.cwd())},
            preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no other thread holds a lock that this needs
        )
        os.close(end)
        self.shown = b""
        self.read_until(b"sqlite> ")

    def read_until(self, text):
        start = len(self.shown)
        while text not in self.shown[start:]:
            try:
                self.shown += os.read(self.fd, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
        return self.shown[start:].decode()

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        rest = self.read_until(b"never")
        os.close(self.fd)
        return self.process.wait(TIMEOUT_S), rest


def test_ctrl_c_stops_a_statement_and_not_the_shell(replica):
    shell = Terminal(replica)
    shell.type(f"SELECT 'be' || 'gun'; {ENDLESS};\n")
    shell.read_until(b"begun")
    shell.process.send_signal(signal.SIGINT)
    shell.read_until(b"sqlite> ")
    shell.type("SELECT 6 * 7;\n")
    assert "42" in shell.read_until(b"sqlite> ")
    shell.type(".exit\n")
    assert shell.end()[0] == ExitCode.OK


def test_ctrl_c_stops_a_write_and_what_was_committed_stays(graft, replica):
    shell = Terminal(replica)
    shell.type("DELETE FROM towns WHERE id = 1;\n")
    shell.read_until(b"sqlite> ")
    shell.type(f"SELECT 'be' || 'gun'; INSERT INTO towns(id, name) SELECT 1, count(*) FROM ({ENDLESS});\n")
    shell.read_until(b"begun")
    shell.process.send_signal(signal.SIGINT)
    shell.read_until(b"sqlite> ")
    shell.type(".exit\n")
    assert shell.end()[0] == ExitCode.OK
    assert count(graft, replica) == "99"


def test_ctrl_c_ends_statements_from_a_pipe(replica):
    process = subprocess.Popen(
        [GRAFT, "shell", replica],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - as above
    )
    process.stdin.write(f"SELECT 'begun'; {ENDLESS};\n")
    process.stdin.flush()
    assert "begun" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == ExitCode.INTERRUPTED


@pytest.mark.parametrize("leave", [".exit\n", ".quit\n", "\x04"])
def test_leaving_with_an_open_transaction_says_so(graft, replica, leave):
    shell = Terminal(replica)
    shell.type("BEGIN; DELETE FROM towns;\n")
    shell.read_until(b"sqlite> ")
    shell.type(leave)
    code, rest = shell.end()
    assert LOST.strip() in rest
    assert code == ExitCode.OK
    assert count(graft, replica) == "100"


@pytest.mark.parametrize("begin", ["BEGIN; DELETE FROM towns", "SAVEPOINT s; DELETE FROM towns"])
def test_a_script_that_leaves_its_changes_uncommitted_fails(graft, replica, begin):
    ran = graft("sql", replica, begin, code=ExitCode.FAILED)
    assert ran.err == LOST
    assert graft("shell", replica, stdin=f"{begin};\n", code=ExitCode.FAILED).err == LOST
    assert count(graft, replica) == "100"
    assert graft("sql", replica, f"{begin}; ROLLBACK").err == ""


def test_an_open_transaction_that_only_read_is_no_failure(graft, replica):
    ran = graft("sql", replica, "BEGIN; SELECT count(*) FROM towns", "--csv")
    assert ran.lines[1] == "100"
    assert ran.err == "graft: a transaction was still open, without changes\n"
    assert graft("sql", replica, "SELECT 1").err == ""
