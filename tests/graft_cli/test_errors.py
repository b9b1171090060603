"""What an exception becomes: a sentence and an exit code."""

import os

import pytest

from graft import errors
from graft_cli.errors import exit_code, sentence
from graft_cli.exitcodes import ExitCode
from pagestore.errors import StoreRefused, StoreUnavailable
from pagestore.stores.local_dir import LocalDirStore


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Diverged, ExitCode.DIVERGED),
        (errors.RemoteUnavailable, ExitCode.UNAVAILABLE),
        (errors.RemoteRefused, ExitCode.REFUSED),
        (errors.Corrupt, ExitCode.CORRUPT),
        (errors.HistoryLost, ExitCode.CORRUPT),
        (errors.WriterBusy, ExitCode.BUSY),
        (errors.StaleSnapshot, ExitCode.BUSY),
        (errors.TooStale, ExitCode.TOO_STALE),
        (errors.NoSuchVolume, ExitCode.FAILED),
        (errors.DiskFull, ExitCode.FAILED),
        (errors.Unsupported, ExitCode.FAILED),
        (ZeroDivisionError, ExitCode.FAILED),
    ],
)
def test_the_group_of_an_error_decides_the_exit_code(error, code):
    assert exit_code(error("…")) is code


def test_a_sentence_is_one_line():
    assert sentence(errors.Diverged("volume x:\n  both moved")) == "volume x: both moved"


def test_our_own_mistakes_are_called_that():
    assert "in graft itself (KeyError: 'x')" in sentence(KeyError("x"))


def failing(error):
    def fail(*_args, **_kwargs):
        raise error

    return fail


def test_a_remote_that_does_not_answer(graft, replica, monkeypatch):
    monkeypatch.setattr(LocalDirStore, "list", failing(StoreUnavailable("no answer in 30 s")))
    ran = graft("fetch", replica, code=ExitCode.UNAVAILABLE)
    assert ran.err.startswith("graft: ")
    assert "no answer in 30 s" in ran.err


def test_a_traceback_that_was_asked_for_tells_all_causes(graft, replica, monkeypatch):
    def down(*_args, **_kwargs):
        try:
            raise OSError("the client's own words")
        except OSError as error:
            raise StoreUnavailable("no answer") from error

    monkeypatch.setattr(LocalDirStore, "list", down)
    monkeypatch.setattr(LocalDirStore, "get", down)
    assert "the client's own words" not in graft("fetch", replica, code=ExitCode.UNAVAILABLE).err
    assert "the client's own words" in graft("fetch", replica, "--traceback", code=ExitCode.UNAVAILABLE).err


def test_a_remote_that_refuses(graft, replica, monkeypatch):
    monkeypatch.setattr(LocalDirStore, "list", failing(StoreRefused("no permission to list")))
    assert "no permission to list" in graft("volumes", "remote", code=ExitCode.REFUSED).err


def test_a_bug_shows_no_traceback_unless_asked(graft, replica, monkeypatch):
    monkeypatch.setattr("graft_cli.commands.inspect.graft_status", failing(ZeroDivisionError("boom")))
    quiet = graft("status", replica, code=ExitCode.FAILED).err
    assert quiet.startswith("graft: an error in graft itself (ZeroDivisionError: boom)")
    assert quiet.count("\n") == 1
    for args in (["--traceback", "status", replica], ["status", replica, "--traceback"]):
        assert "Traceback (most recent call last)" in graft(*args, code=ExitCode.FAILED).err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission(graft, workdir):
    (workdir / "locked").mkdir(mode=0o500)
    assert "locked" in graft("init", "locked/x", "remote", code=ExitCode.FAILED).err
