"""The state as earlier releases wrote it: read, brought up to date, and refused where it is newer."""

import contextlib
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from graft.errors import Unsupported
from graft.replica.state import VERSION, State

GOLDEN = Path(__file__).parents[1] / "golden" / "state_v1.golden"


@pytest.fixture
def path(tmp_path):
    return Path(shutil.copy(GOLDEN, tmp_path / "state.db"))


def version(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


def test_version_1_says_what_it_said(path):
    assert version(path) == 1
    state = State(path)
    found = state.read()
    assert (found.identity.name, found.identity.store_url, found.identity.page_size) == ("vol", "memory://golden", 512)
    assert (found.lsn, found.local_lsn, found.head, found.intent, found.journal_end) == (1, 1, 1, None, 0)
    assert [index.commit.lsn for index in found.chain] == [1]
    state.note_journal_end(7)
    state.note_journal_end(5)
    state.close()
    assert version(path) == VERSION == 4
    again = State(path)
    assert again.read().journal_end == 7, "it only grows"
    again.close()


def test_several_processes_bring_it_up_to_date_at_once(path):
    """Each opens it with a connection of its own, as another process would."""
    made, failed, together = [], [], threading.Barrier(8)

    def open_it():
        together.wait()
        try:
            made.append(State(path))
        except Exception as error:  # noqa: BLE001 - whatever it is, it fails the test
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    for state in made:
        assert state.read().journal_end == 0
        state.close()


def test_a_newer_version_is_left_alone(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(Unsupported, match="upgrade graft"):
        State(path)
    assert path.read_bytes() == before
