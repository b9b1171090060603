"""The `graft` executable as a process: exit codes, streams, signals, terminals."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graft_cli.exitcodes import ExitCode
from tests.graft_cli.conftest import LARGE_TABLE, make_database

GRAFT = Path(sys.executable).with_name("graft")
TIMEOUT_S = 300
"""Ends a test that hangs; no test waits that long otherwise."""

PRELUDE = """
import os, sys, threading, time
from pagestore.stores.local_dir import LocalDirStore
from graft_cli.main import main

def block():
    for _ in range(3000):
        time.sleep(0.1)  # in slices: a signal between Python's last look and a system call does not end that
"""

BLOCKED_PUSH = """
real = LocalDirStore.put_if_absent

def blocked(store, key, data):
    if "/commits/" in key:
        if {lands}:
            real(store, key, data)
        os.write(1, b"blocked\\n")
        block()
    return real(store, key, data)

LocalDirStore.put_if_absent = blocked
sys.argv = ["graft", "push", "here"]
main()
"""

BLOCKED_HYDRATE = """
def blocked(store, key, start, length):
    if threading.current_thread() is not threading.main_thread():
        main = threading.main_thread().ident
        while "wait" not in sys._current_frames()[main].f_code.co_name:  # until the main thread waits for this one
            time.sleep(0.01)
        os.write(1, b"blocked\\n")
    block()

LocalDirStore.get_range = blocked
sys.argv = ["graft", "hydrate", "there"]
main()
"""


def run(*args, **options):
    command = [GRAFT, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options)


def heed_ctrl_c():
    """Undo what a shell does to the jobs that it runs in the background: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(script):
    """Run a script until it says that it is blocked, press Ctrl-C, and return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - no other thread holds a lock that this needs
    )
    assert process.stdout.readline() == "blocked\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, err


def test_answers_on_stdout_complaints_on_stderr(replica):
    good = run("status", replica, "--json")
    assert (good.returncode, good.stderr) == (ExitCode.OK, "")
    assert json.loads(good.stdout)["state"] == "up to date"
    bad = run("status", "absent")
    assert (bad.returncode, bad.stdout) == (ExitCode.FAILED, "")
    assert bad.stderr.startswith("graft: ")
    assert "Traceback" not in bad.stderr


def test_wrong_usage():
    ran = run("push", "--nope")
    assert (ran.returncode, ran.stdout) == (ExitCode.USAGE, "")
    assert ran.stderr == "graft: no such option '--nope' (see `graft push --help`)\n"


def test_diverged(diverged):
    assert run("push", diverged).returncode == ExitCode.DIVERGED
    assert run("pull", diverged).returncode == ExitCode.DIVERGED


def test_a_shell_with_a_pipe(replica):
    ran = run("shell", replica, input="SELECT count(*) FROM towns;")
    assert (ran.returncode, ran.stdout, ran.stderr) == (ExitCode.OK, "100\n", "")


@pytest.mark.parametrize("lands", [False, True])
def test_ctrl_c_in_a_push_loses_nothing(graft, replica, lands):
    graft("sql", replica, "DELETE FROM towns WHERE id = 1")
    code, err = interrupted(BLOCKED_PUSH.format(lands=lands))
    assert code == ExitCode.INTERRUPTED
    assert err == (
        "graft: interrupted: the push of 1 local commit was under way and may or may not have landed; nothing is lost, "
        "and the next push finds out\n"
    )
    assert graft("status", replica, "--json").json["push_open"] is True
    assert "in doubt" in graft("status", replica).out
    graft("push", replica)
    settled = graft("status", replica, "--json").json
    assert (settled["state"], settled["lsn"], settled["push_open"]) == ("up to date", 2, False)
    assert len(graft("log", replica, "--json").lines) == 2
    assert graft("sql", "remote#towns", "SELECT count(*) FROM towns", "--csv").lines[1] == "99"


def test_ctrl_c_does_not_wait_for_requests_that_nobody_answers(graft, workdir):
    graft("import", make_database(workdir / "large.db", rows=20_000), "here", "remote#large", "--push")
    graft("sql", "here", LARGE_TABLE)
    graft("push", "here")  # a second segment, so that threads fetch
    graft("clone", "remote#large", "there")
    code, err = interrupted(BLOCKED_HYDRATE)
    assert code == ExitCode.INTERRUPTED
    assert err == "graft: interrupted: fetched pages stay cached, and the next hydrate fetches the rest\n"
    assert graft("hydrate", "there").out.startswith("Fetched ")


def test_ctrl_c_in_a_long_statement(replica):
    endless = "SELECT 'begun'; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    process = subprocess.Popen(
        [GRAFT, "sql", replica, endless, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - as above
    )
    assert "begun" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (ExitCode.INTERRUPTED, "graft: interrupted\n")


def test_a_reader_that_goes_away(graft, replica):
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i FROM n;"
        "DELETE FROM towns"
    )
    process = subprocess.Popen(
        [GRAFT, "sql", replica, numbers], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().strip() == "i"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(TIMEOUT_S) == ExitCode.BROKEN_PIPE
    assert graft("status", replica, "--json").json["local_commits"] == 0


def on_terminal(*args, env):
    """Run with stderr and stdout on a terminal each; return what they showed."""
    terminals = [pty.openpty(), pty.openpty()]
    (out, out_end), (err, err_end) = terminals
    process = subprocess.Popen([GRAFT, *map(str, args)], stdout=out_end, stderr=err_end, env=os.environ | env)
    os.close(out_end)
    os.close(err_end)
    shown = []
    for terminal in (out, err):
        data = b""
        try:
            while part := os.read(terminal, 65536):
                data += part
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(terminal)
        shown.append(data.decode())
    assert process.wait(TIMEOUT_S) == ExitCode.OK
    return shown


def test_terminals_get_progress_and_colour(replica, database):
    out, err = on_terminal("import", "--replace", database, replica, env={"TERM": "xterm-256color"})
    assert "Importing towns.db" in err
    assert "Importing" not in out
    _, err = on_terminal("push", replica, env={"TERM": "xterm-256color"})
    assert "Pushing towns" in err
    assert re.search(r"\d/\d[\d.]* .?(iB|bytes)", err)
    run("sql", replica, "DELETE FROM towns WHERE id = 1")
    out, err = on_terminal("status", replica, env={"TERM": "xterm-256color"})
    assert "\x1b[33mahead" in out
    assert err == ""


def test_no_colour_where_it_is_not_wanted(replica):
    out, _ = on_terminal("status", replica, env={"TERM": "xterm-256color", "NO_COLOR": "1"})
    assert "\x1b" not in out
    assert "\x1b" not in run("status", replica).stdout
