"""Locks between processes, each played by descriptors of its own."""

import threading

import pytest

from graft.disk import locks as locks_module
from graft.disk.locks import FileLock, PresenceLock
from graft.errors import BadRequest, WriterBusy
from pagestore.runtime import Runtime
from testbed.patience import PATIENCE_S


def test_one_holder(tmp_path):
    first, second = (FileLock(tmp_path / "lock", "the lock") for _ in range(2))
    assert first.try_acquire()
    assert not first.try_acquire(), "another thread would get it"
    assert not second.try_acquire()
    first.release()
    with second.held(0):
        assert not first.try_acquire()
    with first.held(0):
        pass
    first.close()
    second.close()


@pytest.fixture
def locks(tmp_path):
    made = [FileLock(tmp_path / "lock", "the lock") for _ in range(3)]
    yield made
    for lock in made:
        lock.close()


def test_a_brief_holder_is_waited_for(locks, monkeypatch):
    tidy, writer, late = locks
    taken, waits = [], threading.Event()
    monkeypatch.setattr(locks_module, "_BRIEF_S_MAX", PATIENCE_S)
    monkeypatch.setattr(locks_module, "SYSTEM", Runtime(sleep_s=lambda _: waits.set()))

    def take():
        taken.append(writer.try_acquire())

    waiting = threading.Thread(target=take)
    with tidy.held_briefly() as held:
        assert held
        waiting.start()
        assert waits.wait(PATIENCE_S)
        assert not taken
        with late.held_briefly() as held_too:
            assert not held_too, "who tidies waits for nobody"
    waiting.join(PATIENCE_S)
    assert taken == [True]
    with tidy.held_briefly() as held:
        assert not held
    assert not late.try_acquire(), "one who holds it for long is not waited for"
    writer.release()


def test_a_brief_holder_that_was_stopped_is_not_waited_for_for_ever(locks, monkeypatch):
    monkeypatch.setattr(locks_module, "_BRIEF_S_MAX", 0.01)
    stopped, writer, _ = locks
    with stopped.held_briefly() as held:
        assert held
        assert not writer.try_acquire()
    assert writer.try_acquire()


def test_a_brief_holder_that_was_closed(locks):
    tidy, writer, _ = locks
    tidy.close()
    with tidy.held_briefly() as held:
        assert not held
    assert writer.try_acquire()


def test_waiting_ends_in_time(tmp_path):
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    runtime = Runtime(monotonic_s=lambda: now[0], sleep_s=sleep)
    first, second = (FileLock(tmp_path / "lock", "the lock") for _ in range(2))
    with first.held(0), pytest.raises(WriterBusy, match=r"the lock is busy .*waited 3 s"), second.held(3, runtime):
        pass
    assert 3 <= now[0] < 4
    first.close()
    second.close()


def test_a_closed_lock(tmp_path):
    lock = FileLock(tmp_path / "lock", "the lock")
    assert lock.try_acquire()
    lock.close()
    lock.close()
    lock.release()
    with pytest.raises(BadRequest, match="closed"):
        lock.try_acquire()


def test_the_first_to_come_is_alone_until_it_settled(tmp_path, monkeypatch):
    first, second, third = (PresenceLock(tmp_path / "open.lock") for _ in range(3))
    entered, comes = [], threading.Event()
    assert first.enter()
    real = locks_module._locked_by_name
    monkeypatch.setattr(locks_module, "_locked_by_name", lambda path: (comes.set(), real(path))[1])
    joining = threading.Thread(target=lambda: entered.append(second.enter()))
    joining.start()
    assert comes.wait(PATIENCE_S)
    assert not entered
    first.admit_others()
    joining.join(PATIENCE_S)
    assert entered == [False]
    first.close()
    assert not third.enter()
    for lock in (first, second, third):
        lock.close()
    last = PresenceLock(tmp_path / "open.lock")
    assert last.enter()
    last.close()
