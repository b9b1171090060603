"""The coordinator: each mutation once and in order, also beside other coordinators."""

import threading

import pytest

from graft.errors import RemoteUnavailable
from pagestore.errors import StoreUnavailable
from pagestore.runtime import Runtime
from sqlsync import tables
from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.document import Document
from sqlsync.envelope import Mutation, Named
from sqlsync.errors import (
    BadMutation,
    CoordinatorUnavailable,
    MigrationFailed,
    MutationRejected,
    ReducerTooOld,
    TimelineExpired,
    TimelineGap,
)
from sqlsync.ids import TimelineId
from testbed.patience import PATIENCE_S
from tests.sqlsync.support import Notes, notes

ANN = TimelineId(b"a" * 16)
DAY_S = 24 * 3600.0


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self):
        self.now_s = 1_700_000_000.0
        self.runtime = Runtime(now_s=lambda: self.now_s)


def call(lsn, name="append", timeline=ANN, **arguments):
    return Mutation(timeline, lsn, Named(name, arguments or {"key": "k", "value": str(lsn)}), "", 0, 0)


def calls(first, last):
    return [call(lsn) for lsn in range(first, last + 1)]


def log_of(coordinator):
    rows = coordinator.query("SELECT value FROM notes WHERE key = 'k'")
    return rows[0][0] if rows else None


def settle(coordinator):
    while coordinator.step():
        pass


def test_what_was_handed_over_twice_is_applied_once(stage):
    coordinator = stage.coordinator()
    assert coordinator.submit(ANN, calls(0, 2)).next_lsn == 3
    assert coordinator.submit(ANN, calls(1, 4)).next_lsn == 5
    settle(coordinator)
    answer = coordinator.submit(ANN, calls(0, 4))
    assert (answer.next_lsn, answer.applied) == (5, 4)
    assert coordinator.step() == 0
    assert log_of(coordinator) == "01234"


def test_a_gap_is_refused_and_says_what_is_wanted(stage):
    coordinator = stage.coordinator()
    coordinator.submit(ANN, calls(0, 1))
    for gap in ([call(3)], [call(2), call(4)], [call(2), call(3, timeline=TimelineId(b"b" * 16))]):
        with pytest.raises(TimelineGap) as caught:
            coordinator.submit(ANN, gap)
        assert caught.value.expected in {2, 3}
    settle(coordinator)
    assert log_of(coordinator) == "01"


def test_many_mutations_become_one_commit(stage):
    coordinator = stage.coordinator(batch_mutations_max=50)
    for client in range(5):
        timeline = TimelineId(bytes([client]) * 16)
        coordinator.submit(timeline, [call(lsn, timeline=timeline) for lsn in range(20)])
    before = coordinator.submit(ANN, []).volume_lsn
    assert [coordinator.step(), coordinator.step(), coordinator.step()] == [50, 50, 0]
    assert coordinator.submit(ANN, []).volume_lsn == before + 2


def test_what_is_in_the_inbox_is_applied_after_a_restart(stage):
    coordinator = stage.coordinator()
    coordinator.submit(ANN, calls(0, 9))
    coordinator.close()
    again = stage.coordinator()
    assert again.submit(ANN, []).next_lsn == 10
    settle(again)
    assert log_of(again) == "0123456789"


def test_a_rejection_stands_in_the_volume_until_its_author_knows(stage):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator)
    ann.mutate("take", key="seat", value="ann")
    coordinator.submit(ANN, [call(0, "take", key="seat", value="other")])
    ann.sync()
    settle(coordinator)
    ann.sync()
    ((raw, lsn, reason),) = coordinator.query("SELECT id, lsn, reason FROM __sqlsync_sealed")
    assert (raw, lsn) == (ann.timeline.raw, 0)
    assert b"taken" not in reason
    ann.mutate("put", key="x", value="1")
    ann.sync()  # says by the way that the rejection arrived
    settle(coordinator)
    assert coordinator.query("SELECT * FROM __sqlsync_sealed") == []


def test_a_rejection_takes_no_neighbour_along(stage):
    coordinator = stage.coordinator()
    coordinator.submit(ANN, [call(0), call(1, "remove", key="nothing"), call(2), call(3, "no such"), call(4)])
    settle(coordinator)
    assert log_of(coordinator) == "024"
    rows = coordinator.query("SELECT lsn, reason FROM __sqlsync_rejections ORDER BY lsn")
    assert rows[0] == (1, "there is no nothing")
    assert rows[1][0] == 3
    assert coordinator.submit(ANN, []).applied == 4


def test_two_coordinators_share_the_work_and_do_nothing_twice(stage):
    one, two = stage.coordinator("one", batch_mutations_max=3), stage.coordinator("two", batch_mutations_max=2)
    for coordinator in (one, two):
        coordinator.submit(ANN, calls(0, 9))
    for _ in range(4):
        one.step()
        two.step()
    assert one.submit(ANN, calls(9, 11)).next_lsn == 12
    with pytest.raises(TimelineGap):
        two.submit(ANN, [call(13)])
    for coordinator in (one, two):
        settle(coordinator)
        coordinator.catch_up()
    assert log_of(one) == log_of(two) == "".join(map(str, range(12)))


def test_a_gap_that_another_coordinator_has_filled_is_none(stage):
    one, two = stage.coordinator("one"), stage.coordinator("two")
    one.submit(ANN, calls(0, 4))
    settle(one)
    assert two.submit(ANN, [call(5)]).next_lsn == 6
    settle(two)
    assert log_of(two) == "012345"


def test_two_coordinators_and_three_clients_in_threads_at_once(stage):
    coordinators = [stage.coordinator(f"c{n}", batch_mutations_max=4) for n in range(2)]
    clients = [stage.client(f"client{n}", coordinators[n % 2]) for n in range(3)]
    failed = []

    def live(client, name):
        try:
            receipts = [client.mutate("append", key="k", value=f"{name}{number};") for number in range(12)]
            while client.pending():
                client.sync(wait_s=10)
            for receipt in receipts:
                receipt.wait(PATIENCE_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failed.append(error)

    for coordinator in coordinators:
        coordinator.start()
    threads = [threading.Thread(target=live, args=(client, name)) for client, name in zip(clients, "abc", strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert failed == []
    assert [coordinator.trouble for coordinator in coordinators] == [None, None]
    for client in clients:
        client.sync()
    assert len({str(notes(client)) for client in clients}) == 1
    written = notes(clients[0])["k"].split(";")[:-1]
    for name in "abc":
        assert [entry for entry in written if entry[0] == name] == [f"{name}{number}" for number in range(12)]


def test_the_coordinator_mutates_and_queries_by_itself(stage):
    coordinator = stage.coordinator(actor="the server")
    coordinator.mutate("put", key="a", value="1")
    assert coordinator.query("SELECT value FROM notes WHERE key = ?", ("a",)) == [("1",)]
    with pytest.raises(MutationRejected, match="there is no b"):
        coordinator.mutate("remove", key="b")
    with pytest.raises(BadMutation, match="cannot be written as JSON"):
        coordinator.mutate("put", key=object())
    coordinator.mutate("put", key="b", value="2")
    assert coordinator.query("SELECT * FROM __sqlsync_rejections") == []
    ann = stage.client("ann", coordinator)
    assert notes(ann) == {"a": "1", "b": "2"}


def test_threads_that_mutate_at_once_learn_of_their_own_rejections(stage):
    coordinator = stage.coordinator()
    coordinator.start()
    told = []

    def take(name):
        try:
            coordinator.mutate("take", key="seat", value=name)
        except MutationRejected as error:
            told.append(str(error))

    threads = [threading.Thread(target=take, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert told == ["seat is taken"] * 5


def test_nothing_is_lost_while_the_remote_is_away(stage):
    coordinator = stage.coordinator()
    stage.store.put_if_absent, put = _unreachable, stage.store.put_if_absent
    coordinator.submit(ANN, calls(0, 3))
    for _ in range(2):
        with pytest.raises(RemoteUnavailable):
            coordinator.step()
    assert coordinator.submit(ANN, calls(4, 5)).next_lsn == 6
    stage.store.put_if_absent = put
    settle(coordinator)
    assert log_of(coordinator) == "012345"


def _unreachable(*_, **__):
    raise StoreUnavailable("no route to host")


def test_the_thread_goes_on_after_trouble(stage):
    coordinator = stage.coordinator()
    stage.store.put_if_absent, put = _unreachable, stage.store.put_if_absent
    coordinator.submit(ANN, calls(0, 3))
    coordinator.start()
    try:
        while coordinator.trouble is None:
            coordinator.wait(ANN, 3, timeout_s=0.01)
    finally:
        stage.store.put_if_absent = put
    assert "no route to host" in str(coordinator.trouble)
    assert coordinator.wait(ANN, 3, timeout_s=PATIENCE_S).applied == 3


def test_waiting_ends_in_time_and_when_the_coordinator_stops(stage):
    coordinator = stage.coordinator()
    coordinator.submit(ANN, calls(0, 0))
    assert coordinator.wait(ANN, 0, timeout_s=0.001).applied is None
    coordinator.close()
    with pytest.raises(CoordinatorUnavailable):
        coordinator.submit(ANN, calls(1, 1))


# Expiry


def test_a_timeline_that_nobody_uses_is_forgotten_and_its_author_is_told(stage):
    clock = Clock()
    coordinator = stage.coordinator(expiry_s=10 * DAY_S, runtime=clock.runtime)
    ann = stage.client("ann", coordinator, runtime=clock.runtime)
    bob = stage.client("bob", coordinator, runtime=clock.runtime)
    for client in (ann, bob):
        client.mutate("append", key="k", value=client.timeline.raw.hex()[:2])
        client.sync()
        settle(coordinator)
    bob.sync()
    clock.now_s += 6 * DAY_S
    bob.mutate("append", key="k", value="+")
    bob.sync()
    settle(coordinator)
    clock.now_s += 6 * DAY_S
    coordinator.mutate("put", key="x", value="y")
    assert len(coordinator.query("SELECT * FROM __sqlsync_timelines")) == 2  # bob's and the coordinator's
    before = log_of(coordinator)
    # Ann never learnt that her mutation was applied; it must not be applied again behind her back.
    ann.mutate("append", key="k", value="!")
    with pytest.raises(TimelineExpired):
        ann.sync()
    bob.mutate("append", key="k", value="-")
    bob.sync()
    settle(coordinator)
    assert log_of(coordinator) == before + "-"
    assert len(ann.pending()) == 2
    ann.renew_timeline()
    ann.sync()
    settle(coordinator)
    ann.sync()
    assert ann.pending() == []
    assert log_of(coordinator).endswith("!")


def test_a_client_that_was_offline_from_the_start_is_asked_only_if_something_was_forgotten(stage):
    clock = Clock()
    coordinator = stage.coordinator(expiry_s=10 * DAY_S, runtime=clock.runtime)
    ann = stage.client("ann", coordinator, runtime=clock.runtime)
    ann.mutate("append", key="k", value="ann")
    clock.now_s += 100 * DAY_S
    ann.sync()
    settle(coordinator)
    assert log_of(coordinator) == "ann"


def test_a_direct_client_learns_that_its_timeline_was_forgotten(stage):
    clock = Clock()
    ann = stage.client("ann", runtime=clock.runtime)
    ann.mutate("append", key="k", value="ann")
    ann.sync()
    clock.now_s += 20 * DAY_S
    coordinator = stage.coordinator(expiry_s=10 * DAY_S, runtime=clock.runtime)
    clock.now_s += DAY_S
    coordinator.mutate("append", key="k", value="+")
    ann.mutate("append", key="k", value="!")
    with pytest.raises(TimelineExpired):
        ann.sync()
    ann.renew_timeline()
    ann.sync()
    assert ann.pending() == []
    coordinator.catch_up()
    assert log_of(coordinator) == "ann+!"


def test_an_inbox_from_long_ago_is_not_applied_twice(stage):
    clock = Clock()
    old = stage.coordinator("old", expiry_s=10 * DAY_S, runtime=clock.runtime)
    old.submit(ANN, calls(0, 2))
    old.close()
    new = stage.coordinator("new", expiry_s=10 * DAY_S, runtime=clock.runtime)
    new.submit(ANN, calls(0, 2))
    settle(new)
    clock.now_s += 30 * DAY_S
    new.mutate("put", key="x", value="y")
    assert len(new.query("SELECT * FROM __sqlsync_timelines")) == 1
    again = stage.coordinator("old", expiry_s=10 * DAY_S, runtime=clock.runtime)
    again.catch_up()
    settle(again)
    assert log_of(again) == "012"


def test_an_expiry_that_clocks_could_upset_is_refused(stage):
    with pytest.raises(ValueError, match="the minimum is 172800 s"):
        stage.coordinator(expiry_s=DAY_S)


def test_what_a_pull_brought_is_learnt_later_if_it_could_not_be_read_at_once(stage, monkeypatch):
    first, second = stage.coordinator("first"), stage.coordinator("second")
    first.submit(ANN, calls(0, 2))
    settle(first)

    def out_of_reach(connection):
        raise RemoteUnavailable("no route to host")

    with monkeypatch.context() as cut_off:
        cut_off.setattr(tables, "positions", out_of_reach)
        with pytest.raises(RemoteUnavailable):
            second.catch_up()
    assert second.submit(ANN, [call(3)]).applied == 2
    settle(second)
    assert log_of(second) == "0123"


# Migrations


class NotesOf(Notes):
    """Notes whose table got one more column with each version."""

    def __init__(self, version, fails=False):
        self.version, self.fails = version, fails

    def migrate(self, context, version):
        if version == 1:
            super().migrate(context, version)
            return
        context.execute(f"ALTER TABLE notes ADD COLUMN v{version} TEXT DEFAULT 'old'")
        if self.fails:
            context.execute("nonsense")


def open_with(stage, name, coordinator, reducer):
    link = LocalLink(coordinator) if coordinator else None
    found = Document.open(stage.directory / name, stage.remote, reducer, link=link, store=stage.store)
    stage.open.append(found)
    return found


def columns(document):
    return [name for (name,) in document.query("SELECT name FROM pragma_table_info('notes')")]


def test_a_coordinator_migrates_without_being_asked_to_and_once(stage):
    stage.coordinator("first").mutate("put", key="a", value="1")
    second = stage.coordinator("second", reducer=NotesOf(3))
    third = stage.coordinator("third", reducer=NotesOf(3))
    assert second.step() == 0
    third.catch_up()
    assert third.step() == 0
    assert columns(third) == ["key", "value", "version", "v2", "v3"]
    assert third.query("SELECT * FROM notes") == [("a", "1", 1, "old", "old")]
    assert third.query("SELECT value FROM __sqlsync_meta WHERE key = 'version'") == [(3,)]
    assert second.submit(ANN, []).volume_lsn == third.submit(ANN, []).volume_lsn == 2


def test_two_coordinators_that_migrate_at_once_do_it_once(stage):
    first, second = (stage.coordinator(name, reducer=NotesOf(2)) for name in ("first", "second"))
    assert (first.step(), second.step()) == (0, 0)
    assert columns(first) == columns(second) == ["key", "value", "version", "v2"]


def test_a_client_that_is_too_old_is_told_and_keeps_its_work_until_it_is_upgraded(stage):
    coordinator = stage.coordinator()
    ann, bob = (open_with(stage, name, coordinator, NotesOf(1)) for name in ("ann", "bob"))
    ann.mutate("put", key="a", value="1")
    ann.sync()
    settle(coordinator)
    ann.sync()
    coordinator.close()
    newer = stage.coordinator(reducer=NotesOf(2))
    settle(newer)
    bob.mutate("put", key="b", value="2")
    with pytest.raises(CoordinatorUnavailable):  # the old one is gone
        bob.sync()
    bob._client.link = LocalLink(newer)
    newer_bob_pending = bob.pending()
    with pytest.raises(ReducerTooOld, match="version 2, and this application knows version 1: upgrade"):
        bob.sync()
    assert bob.pending() == newer_bob_pending
    assert notes(bob) == {"b": "2"}  # it still reads what it had
    with pytest.raises(ReducerTooOld):
        bob.mutate("put", key="c", value="3")
    bob.close()
    with pytest.raises(ReducerTooOld):
        open_with(stage, "bob", newer, NotesOf(1))
    upgraded = open_with(stage, "bob", newer, NotesOf(2))
    assert upgraded.pending() == newer_bob_pending
    assert notes(upgraded) == {"a": "1", "b": "2"}
    upgraded.sync()
    settle(newer)
    upgraded.sync()
    assert upgraded.pending() == []


def test_a_coordinator_that_is_too_old_says_so_and_keeps_its_inbox(stage):
    old = stage.coordinator("old")
    stage.coordinator("new", reducer=NotesOf(2)).step()
    old.submit(ANN, calls(0, 1))
    with pytest.raises(ReducerTooOld):
        old.step()
    assert old.submit(ANN, []).next_lsn == 2
    old.close()
    with pytest.raises(ReducerTooOld):
        stage.coordinator("old")
    upgraded = stage.coordinator("old", reducer=NotesOf(2))
    settle(upgraded)
    assert log_of(upgraded) == "01"


def test_a_newer_client_migrates_its_view_and_waits_for_the_coordinator(stage):
    coordinator = stage.coordinator()
    ann = open_with(stage, "ann", coordinator, NotesOf(2))
    ann.mutate("put", key="a", value="1")
    assert columns(ann) == ["key", "value", "version", "v2"]
    ann.sync()
    settle(coordinator)
    ann.sync()
    assert notes(ann) == {"a": "1"}
    assert coordinator.query("SELECT value FROM __sqlsync_meta WHERE key = 'version'") == [(1,)]


def test_direct_clients_migrate_with_the_first_mutation_and_once(stage):
    ann, bob = (open_with(stage, name, None, NotesOf(2)) for name in ("ann", "bob"))
    for client in (ann, bob):
        client.mutate("put", key="a", value="1")
    for client in (ann, bob, ann):
        client.sync()
    assert columns(ann) == columns(bob) == ["key", "value", "version", "v2"]
    assert tables.version(ann._client.view.volume.connection) == 2


def test_a_migration_that_fails_leaves_all_as_it_was(stage):
    stage.coordinator("old").mutate("put", key="a", value="1")
    broken = stage.coordinator("new", reducer=NotesOf(2, fails=True))
    broken.submit(ANN, calls(0, 1))
    for _ in range(2):
        with pytest.raises(MigrationFailed, match="version 2 failed: SQLError"):
            broken.step()
    broken.close()
    mended = stage.coordinator("new", reducer=NotesOf(2))
    settle(mended)
    assert log_of(mended) == "01"
    assert columns(mended) == ["key", "value", "version", "v2"]
