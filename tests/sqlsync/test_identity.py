"""Whose a timeline is, which history it has, and what the volume tells others of it."""

import shutil
import sqlite3
from dataclasses import replace

import pytest

from sqlsync import tables
from sqlsync.coordination.intake import CLOCK_AHEAD_US
from sqlsync.documents.timeline import FILE, Timeline
from sqlsync.envelope import Mutation, Named, digest, encode
from sqlsync.errors import NotTheOwner, TimelineForked, TimelineGap
from sqlsync.identity import (
    GENESIS,
    LINKS_MAX,
    Owner,
    Proof,
    Stamp,
    continued,
    legacy_link,
    linked,
    new_secret,
    seal_key,
    sealed,
    unsealed,
)
from sqlsync.ids import TimelineId
from tests.sqlsync.documents.test_document import confirm
from tests.sqlsync.support import notes


@pytest.fixture(params=["coordinator", "direct"])
def served(request, stage):
    """A way to open clients: with a coordinator, or without any."""
    coordinator = stage.coordinator() if request.param == "coordinator" else None

    def client(name):
        return stage.client(name, coordinator)

    def settle(document):
        document.sync()
        while coordinator is not None and coordinator.step():
            pass
        document.sync()

    client.settle = settle
    return client


def call(timeline, lsn, key="a", value="x", name="append", **more):
    made = Mutation.captured(timeline, lsn, Named(name, {"key": key, "value": value}))
    return replace(made, **more)


def backed_up(stage, name):
    """Copy a client's directory that nobody has open."""
    shutil.copytree(stage.directory / name, stage.directory / f"backup of {name}")


def restored(stage, name):
    shutil.rmtree(stage.directory / name)
    shutil.copytree(stage.directory / f"backup of {name}", stage.directory / name)


def append(document, *values):
    return [document.mutate("append", key="a", value=value) for value in values]


# Restored and copied directories


@pytest.mark.parametrize("meanwhile", [1, 3, LINKS_MAX + 5])
@pytest.mark.parametrize("after", [1, 3, LINKS_MAX + 10])
def test_a_restored_directory_is_told_and_its_new_mutations_are_kept(stage, served, meanwhile, after):
    ann = served("ann")
    append(ann, "1")
    served.settle(ann)
    ann.close()
    backed_up(stage, "ann")
    ann = served("ann")
    append(ann, *["m"] * meanwhile)
    served.settle(ann)
    ann.close()
    restored(stage, "ann")
    ann = served("ann")
    receipts = append(ann, *["n"] * after)
    for _ in range(2):
        with pytest.raises(TimelineForked, match=r"another copy|restored|two copies"):
            served.settle(ann)
    assert {receipt.state for receipt in receipts} <= {"local", "acknowledged"}
    assert len(ann.pending()) == after
    ann.renew_timeline()
    served.settle(ann)
    assert {receipt.state for receipt in receipts} == {"confirmed"}
    assert notes(ann) == {"a": "1" + "m" * meanwhile + "n" * after}


def test_a_fork_is_told_again_after_it_was_closed_and_opened(stage, served):
    ann = served("ann")
    ann.close()
    backed_up(stage, "ann")
    ann = served("ann")
    append(ann, "1", "2")
    served.settle(ann)
    ann.close()
    restored(stage, "ann")
    ann = served("ann")
    append(ann, "n")
    for _ in range(3):
        with pytest.raises(TimelineForked):
            ann.sync()
        ann.close()
        ann = served("ann")
        append(ann, "n")
    assert len(ann.pending()) == 4
    ann.renew_timeline()
    served.settle(ann)
    assert (notes(ann), ann.pending()) == ({"a": "12nnnn"}, [])


def test_a_restored_directory_with_nothing_new_is_told_too(stage, served):
    ann = served("ann")
    append(ann, "1")
    served.settle(ann)
    ann.close()
    backed_up(stage, "ann")
    ann = served("ann")
    append(ann, "2")
    served.settle(ann)
    ann.close()
    restored(stage, "ann")
    with pytest.raises(TimelineForked):
        served("ann").sync()


def test_what_was_pending_in_the_backup_and_applied_since_is_not_applied_again(stage, served):
    ann = served("ann")
    append(ann, "1", "2")
    ann.close()
    backed_up(stage, "ann")
    ann = served("ann")
    append(ann, "3")
    served.settle(ann)
    ann.close()
    restored(stage, "ann")
    ann = served("ann")
    (receipt,) = append(ann, "4")
    with pytest.raises(TimelineForked):
        served.settle(ann)
    assert [found.lsn for found in ann.pending()] == [2]
    ann.renew_timeline()
    served.settle(ann)
    assert (receipt.state, notes(ann)) == ("confirmed", {"a": "1234"})


def test_two_copies_of_a_directory_in_use_at_once_lose_nothing(stage, served):
    served("ann").close()
    shutil.copytree(stage.directory / "ann", stage.directory / "bob")
    ann, bob = served("ann"), served("bob")
    assert ann.timeline == bob.timeline
    append(ann, "a")
    append(bob, "b")
    served.settle(ann)
    with pytest.raises(TimelineForked):
        served.settle(bob)
    bob.renew_timeline()
    served.settle(bob)
    append(ann, "A")
    append(bob, "B")
    for each in (ann, bob, ann):
        served.settle(each)
    assert notes(ann) == notes(bob) == {"a": "abAB"}


def test_copies_that_reach_two_coordinators_are_told_apart_by_the_volume(stage):
    one, two = stage.coordinator("one"), stage.coordinator("two")
    stage.client("ann", one).close()
    shutil.copytree(stage.directory / "ann", stage.directory / "bob")
    ann, bob = stage.client("ann", one), stage.client("bob", two)
    append(ann, "a")
    (receipt,) = append(bob, "b")
    ann.sync()
    bob.sync()  # both have acknowledged mutation 0
    one.step()
    two.step()
    ann.sync()
    with pytest.raises(TimelineForked):
        bob.sync()
    assert receipt.state == "acknowledged"
    bob.renew_timeline()
    confirm(two, bob)
    assert (receipt.state, notes(bob)) == ("confirmed", {"a": "ab"})


def test_a_copied_coordinator_does_not_take_anothers_mutation_for_its_own(stage):
    stage.coordinator("one").close()
    shutil.copytree(stage.directory / "one", stage.directory / "two")
    one, two = stage.coordinator("one"), stage.coordinator("two")
    one.mutate("append", key="a", value="1")
    with pytest.raises(TimelineForked, match="call it again"):
        two.mutate("append", key="a", value="2")
    two.mutate("append", key="a", value="3")
    assert two.query("SELECT value FROM notes") == [("13",)]


def test_a_coordinator_that_was_restored_goes_on(stage):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator)
    coordinator.close()
    backed_up(stage, "coordinator")
    coordinator = stage.coordinator()
    ann.close()
    ann = stage.client("ann", coordinator)
    append(ann, "1")
    confirm(coordinator, ann)
    coordinator.mutate("append", key="a", value="2")
    coordinator.close()
    restored(stage, "coordinator")
    coordinator = stage.coordinator()
    ann.close()
    ann = stage.client("ann", coordinator)
    append(ann, "3")
    confirm(coordinator, ann)
    coordinator.mutate("append", key="a", value="4")
    assert coordinator.query("SELECT value FROM notes") == [("1234",)]


# What comes again


def test_an_lsn_that_comes_again_with_other_content_is_refused_not_skipped(stage):
    coordinator = stage.coordinator()
    timeline = TimelineId.new()
    first = [call(timeline, lsn) for lsn in range(30)]
    coordinator.submit(timeline, first)
    for _ in range(2):  # in the inbox, then in the volume
        assert coordinator.submit(timeline, first).next_lsn == 30
        assert coordinator.submit(timeline, first[25:]).next_lsn == 30
        assert coordinator.submit(timeline, first[29:]).next_lsn == 30
        for batch in ([call(timeline, 29)], [*first[:29], call(timeline, 29)], [call(timeline, 27), *first[28:]],
                      [*first[:29], call(timeline, 29), call(timeline, 30)]):  # fmt: skip
            with pytest.raises(TimelineForked, match="a different mutation"):
                coordinator.submit(timeline, batch)
        with pytest.raises((TimelineForked, TimelineGap)):  # so long ago that nobody can compare it
            coordinator.submit(timeline, [call(timeline, 3)])
        while coordinator.step():
            pass
    assert coordinator.submit(timeline, [call(timeline, 30)]).next_lsn == 31


def test_only_what_differs_in_time_or_seed_is_another_mutation_too(stage):
    coordinator = stage.coordinator()
    timeline = TimelineId.new()
    made = call(timeline, 0)
    coordinator.submit(timeline, [made])
    for other in (replace(made, seed=made.seed ^ 1), replace(made, now_us=made.now_us - 1), replace(made, actor="x")):
        with pytest.raises(TimelineForked):
            coordinator.submit(timeline, [other])


# Ownership


@pytest.fixture
def victim(stage):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator)
    append(ann, "1")
    confirm(coordinator, ann)
    return coordinator, ann


@pytest.mark.parametrize("secret", [None, bytes(32)])
def test_an_id_alone_gives_no_right_to_write_to_a_timeline(stage, victim, secret):
    coordinator, ann = victim
    ids = {TimelineId(raw) for (raw,) in coordinator.query("SELECT id FROM __sqlsync_timelines")}
    assert ann.timeline in ids
    proof = None if secret is None else Proof(secret, 1, None)
    for other in (coordinator, stage.coordinator("another")):
        for mutations in ([call(ann.timeline, 1)], [call(ann.timeline, 0)], []):
            with pytest.raises((NotTheOwner, TimelineGap)):
                other.submit(ann.timeline, mutations, proof=proof)
    (receipt,) = append(ann, "2")
    confirm(coordinator, ann)
    assert (receipt.state, notes(ann)) == ("confirmed", {"a": "12"})


def test_a_coordinator_that_has_not_heard_of_a_timeline_lets_nobody_into_it(stage, victim):
    _, ann = victim
    behind = stage.coordinator("behind", batch_mutations_max=1)
    append(ann, "2")
    ann.sync()
    stolen = [call(ann.timeline, lsn, value="stolen") for lsn in range(5)]
    behind._applier.catch_up = lambda: None
    behind._known = replace(behind._known, positions={}, standings={})
    behind.submit(ann.timeline, stolen)
    while behind.step():
        pass
    confirm(victim[0], ann)
    assert notes(ann) == {"a": "12"}


def test_seen_of_a_stranger_erases_no_rejection(stage):
    coordinator = stage.coordinator()
    ann, bob = stage.client("ann", coordinator, on_rejected="keep"), stage.client("bob", coordinator)
    bob.mutate("take", key="seat", value="bob")
    ann.mutate("take", key="seat", value="ann")
    bob.sync()
    ann.sync()
    coordinator.step()
    anonymous = TimelineId.new()
    coordinator.submit(anonymous, [call(anonymous, 0, "seat", "x", "take")])
    coordinator.step()
    for timeline in (ann.timeline, anonymous):
        for proof in (None, Proof(bytes(32), 1, None)):
            try:
                coordinator.submit(timeline, [], rejections_seen=99, proof=proof)
            except NotTheOwner:
                continue
    bob.mutate("put", key="x", value="1")
    confirm(coordinator, bob)
    ann.sync()
    assert [refusal.reason for refusal in ann.refusals()] == ["seat is taken"]
    assert coordinator.query("SELECT id FROM __sqlsync_rejections") == [(anonymous.raw,)]


def test_why_a_mutation_was_rejected_is_for_its_author_alone(stage, served):
    ann, bob = served("ann"), served("bob")
    bob.mutate("take", key="a private seat", value="bob")
    receipt = ann.mutate("take", key="a private seat", value="ann")
    served.settle(bob)
    served.settle(ann)
    assert (receipt.state, receipt.reason) == ("rejected", "a private seat is taken")
    bob.sync()
    for (table,) in bob.query("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        if table.startswith("__sqlsync_"):
            assert "taken" not in repr(bob.query(f"SELECT * FROM {table}"))
    secret = ann._client.timeline.secret
    assert secret not in b"".join(
        value for row in bob.query("SELECT * FROM __sqlsync_owners") for value in row[2:] if value
    )


# Claims


@pytest.mark.parametrize("ahead_us", [CLOCK_AHEAD_US * 2, 10**15])
def test_a_time_that_is_still_to_come_is_not_believed(stage, ahead_us):
    coordinator = stage.coordinator()
    timeline = TimelineId.new()
    made = call(timeline, 0)
    late = replace(made, now_us=made.now_us + ahead_us)
    coordinator.submit(timeline, [late])
    assert coordinator.submit(timeline, [late]).next_lsn == 1  # the same comes again
    (entry,) = coordinator._inbox.first(1)
    assert entry.mutation.now_us <= made.now_us + CLOCK_AHEAD_US


def test_the_actor_is_the_principal_whose_token_was_shown(stage):
    coordinator = stage.coordinator()
    timeline = TimelineId.new()
    with pytest.raises(NotTheOwner, match="names the actor 'admin'"):
        coordinator.submit(timeline, [call(timeline, 0, actor="admin")], principal="ann")
    coordinator.submit(timeline, [call(timeline, 0), call(timeline, 1, actor="ann")], principal="ann")
    assert [entry.mutation.actor for entry in coordinator._inbox.first(9)] == ["ann", "ann"]
    for principal in ("", "bob"):
        with pytest.raises(NotTheOwner, match="another principal"):
            coordinator.submit(timeline, [call(timeline, 2)], principal=principal)


def test_a_timeline_becomes_that_of_the_first_principal_and_stays_it(stage, victim):
    coordinator, ann = victim
    proof = ann._client.timeline.proof(1)
    assert coordinator.submit(ann.timeline, [call(ann.timeline, 1)], proof=proof, principal="ann").next_lsn == 2
    with pytest.raises(NotTheOwner):
        coordinator.submit(ann.timeline, [], proof=proof, principal="bob")


# Older releases


OLD_TIMELINE = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE mutations (lsn INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
    CREATE TABLE rejections (lsn INTEGER, timeline BLOB, data BLOB NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (timeline, lsn)) STRICT;
    PRAGMA user_version = 1;
"""
OLD_INBOX = """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE entries (seq INTEGER PRIMARY KEY AUTOINCREMENT, taken_us INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
    PRAGMA user_version = 1;
"""


def old_timeline(directory, timeline, start, pending):
    directory.mkdir()
    with sqlite3.connect(directory / FILE) as database:
        database.executescript(OLD_TIMELINE)
        values = {"id": timeline.raw, "start": start, "seen": start - 1, "born": pending[0].now_us if pending else 0}
        database.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
        database.executemany("INSERT INTO mutations VALUES (?, ?)", [(made.lsn, encode(made)) for made in pending])
    database.close()


def old_document(stage, coordinator, timeline, count):
    """Leave a document as an older release did: positions, and nothing of identity."""
    coordinator.submit(timeline, [call(timeline, lsn, value=str(lsn)) for lsn in range(count)])
    coordinator.step()
    volume = coordinator._volume
    with volume.transaction() as connection:
        for table in ("owners", "sealed"):
            connection.execute(f"DROP TABLE __sqlsync_{table}")
    coordinator._applier.settle()
    coordinator._learnt()


def test_what_an_older_release_left_goes_on(stage):
    coordinator = stage.coordinator()
    timeline = TimelineId.new()
    old_document(stage, coordinator, timeline, 3)
    old_timeline(stage.directory / "ann", timeline, 3, [call(timeline, 3, value="3")])
    ann = stage.client("ann", coordinator)
    assert ann.timeline == timeline
    append(ann, "4")
    confirm(coordinator, ann)
    assert (notes(ann), ann.pending()) == ({"a": "01234"}, [])
    ann.close()
    ann = stage.client("ann", coordinator)  # with nothing pending it goes on under a secret
    assert ann.timeline != timeline
    append(ann, "5")
    confirm(coordinator, ann)
    assert notes(ann) == {"a": "012345"}
    with pytest.raises(NotTheOwner):
        coordinator.submit(ann.timeline, [call(ann.timeline, 1)])


def test_an_older_release_that_moves_a_position_alone_makes_nobody_a_fork(stage):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator)
    append(ann, "1")
    confirm(coordinator, ann)
    append(ann, "2")
    (pending,) = ann.pending()
    with coordinator._volume.transaction() as connection:
        tables.set_applied(connection, ann.timeline, 1, used_us=pending.now_us)
        connection.execute("UPDATE notes SET value = value || '2'")
    coordinator._applier.settle()
    coordinator._learnt()
    ann.sync()
    append(ann, "3")
    confirm(coordinator, ann)
    assert (notes(ann), ann.pending()) == ({"a": "123"}, [])
    with pytest.raises(NotTheOwner):
        coordinator.submit(ann.timeline, [call(ann.timeline, 3)])


def test_an_inbox_of_an_older_release_is_applied(stage):
    timeline = TimelineId.new()
    (stage.directory / "coordinator").mkdir()
    with sqlite3.connect(stage.directory / "coordinator" / "inbox.db") as database:
        database.executescript(OLD_INBOX)
        database.execute("INSERT INTO meta VALUES ('id', ?)", (bytes(range(16)),))
        for lsn in range(3):
            made = call(timeline, lsn, value=str(lsn))
            database.execute("INSERT INTO entries (taken_us, data) VALUES (?, ?)", (made.now_us, encode(made)))
    database.close()
    coordinator = stage.coordinator()
    while coordinator.step():
        pass
    coordinator.mutate("append", key="a", value="!")
    assert coordinator.query("SELECT value FROM notes") == [("012!",)]
    assert coordinator.submit(timeline, [call(timeline, 3)]).next_lsn == 4


# The parts


def test_a_seal_opens_with_its_key_and_place_alone():
    timeline, key = TimelineId(bytes(range(16))), seal_key(bytes(range(32)))
    data = sealed(key, timeline, 7, "no such seat: 12ä")
    assert unsealed(key, timeline, 7, data) == "no such seat: 12ä"
    assert b"seat" not in data
    for other in ((seal_key(bytes(32)), timeline, 7, data), (key, TimelineId(bytes(16)), 7, data),
                  (key, timeline, 8, data), (key, timeline, 7, data[:-1]), (key, timeline, 7, b"")):  # fmt: skip
        assert unsealed(*other) is None


def test_formats_of_identity_stay_what_they_are():
    timeline, secret = TimelineId(bytes(range(16))), bytes(range(32))
    owner = Owner.of(timeline, secret, "ann")
    assert owner.key.hex() == GOLDEN["key"]
    assert owner.principal.hex() == GOLDEN["principal"]
    assert linked(GENESIS, bytes(16)).hex() == GOLDEN["link"]
    assert legacy_link(timeline, 5).hex() == GOLDEN["legacy"]
    assert sealed(seal_key(secret), timeline, 1, "no").hex() == GOLDEN["sealed"]
    made = Mutation(timeline, 3, Named("put", {"key": "a"}), "ann", 1_700_000_000_000_000, 99)
    assert digest(made).hex() == GOLDEN["digest"]


GOLDEN = {
    "key": "f586d47c3296e3108a024dfe3b4a6483d64988a07a3a9bd46f96d38d2fd4a489",
    "principal": "4ea6f3ee5473e8a0b1092f0c2d570a3b24c70e9c5c4c323ba045233ec78ab157",
    "link": "855e28397b1bf6f0b595fc47145144a8",
    "legacy": "25888ef8ee64f8e87ca4ff4c64f96e29",
    "sealed": "34856b372858044413601e7ca9511b81ba6d",
    "digest": "8675c8383a6f9164a76d0951e026dc6e",
}


def test_the_volume_keeps_the_last_links_alone():
    stamps, link = [], GENESIS
    for number in range(20):
        before, link = link, linked(link, bytes([number]) * 16)
        stamps.append(Stamp(Owner(), before, link, None))
    once = continued(None, 19, stamps)
    assert once == continued(continued(None, 9, stamps[:10]), 19, stamps[10:])
    assert len(once.links) == LINKS_MAX
    assert (once.link_at(19), once.link_at(12), once.link_at(11), once.link_at(20)) == (link, once.links[0], None, None)


def test_secrets_differ_and_are_kept(tmp_path):
    timelines = [Timeline(tmp_path / str(number) / FILE) for number in range(2)]
    assert timelines[0].secret != timelines[1].secret != new_secret()
    timelines[0].close()
    assert Timeline(tmp_path / "0" / FILE).secret == timelines[0].secret
    before = timelines[1].secret
    timelines[1].renew()
    assert timelines[1].secret != before
    timelines[1].close()
