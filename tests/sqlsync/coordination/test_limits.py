"""What a coordinator takes of one timeline and for its document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlsync import tables
from sqlsync.coordination.limits import Limits, Tally, require_room, surplus, unread_after
from sqlsync.coordination.readers import Readers
from sqlsync.documents import sync
from sqlsync.envelope import Mutation, Named
from sqlsync.errors import CoordinatorBusy, MutationRejected
from sqlsync.identity import Proof
from sqlsync.ids import TimelineId
from testbed.patience import PATIENCE_S

ANN, BOB, EVE = (TimelineId(name * 16) for name in (b"a", b"b", b"e"))
EVES = Proof(b"s" * 32, 0, None)
LIMITS = Limits(timeline_mutations=10, timeline_bytes=10_000, document_mutations=15, document_bytes=15_000)


def remove(timeline, first, count):
    """Mutations that are rejected."""
    return [
        Mutation.captured(timeline, lsn, Named("remove", {"key": f"missing {lsn}"}))
        for lsn in range(first, first + count)
    ]


def put(timeline, first, count, value="x"):
    return [
        Mutation.captured(timeline, lsn, Named("put", {"key": str(lsn), "value": value}))
        for lsn in range(first, first + count)
    ]


def rejected(coordinator):
    return {timeline: len(lsns) for timeline, lsns in tables.rejected(coordinator._volume.connection).items()}


def test_a_timeline_waits_until_what_it_sent_is_applied_and_others_do_not(stage):
    coordinator = stage.coordinator(limits=LIMITS)
    sent = put(EVE, 0, 10)
    coordinator.submit(EVE, sent, rejections_seen=-1)
    with pytest.raises(CoordinatorBusy, match="10 mutations of timeline") as caught:
        coordinator.submit(EVE, put(EVE, 10, 1), rejections_seen=-1)
    assert caught.value.retry_after_s > 0
    assert coordinator.submit(EVE, sent[5:], rejections_seen=-1).next_lsn == 10  # it has that already
    assert coordinator.submit(ANN, put(ANN, 0, 5), rejections_seen=-1).next_lsn == 5
    with pytest.raises(CoordinatorBusy, match="15 mutations of the document"):
        coordinator.submit(BOB, put(BOB, 0, 1), rejections_seen=-1)
    coordinator.step()
    assert coordinator.submit(EVE, put(EVE, 10, 10), rejections_seen=-1).next_lsn == 20
    assert coordinator.submit(BOB, put(BOB, 0, 1), rejections_seen=-1).next_lsn == 1


def test_waiting_bytes_are_counted_after_a_restart_too(stage):
    coordinator = stage.coordinator(limits=LIMITS)
    coordinator.submit(EVE, put(EVE, 0, 1, "x" * 20_000), rejections_seen=-1)  # one may be larger
    coordinator.close()
    coordinator = stage.coordinator(limits=LIMITS)
    for timeline in (EVE, ANN):
        with pytest.raises(CoordinatorBusy, match="bytes"):
            coordinator.submit(timeline, put(timeline, 1 if timeline == EVE else 0, 1), rejections_seen=-1)
    coordinator.step()
    coordinator.submit(ANN, put(ANN, 0, 1), rejections_seen=-1)
    coordinator.step()
    assert coordinator._inbox.tally == Tally()


def test_rejections_of_an_author_who_never_reads_them_do_not_fill_the_document(stage):
    coordinator = stage.coordinator(limits=Limits(unread_kept=5))
    coordinator.submit(ANN, remove(ANN, 0, 30), rejections_seen=-1)
    for first in range(0, 200, 50):
        coordinator.submit(EVE, remove(EVE, first, 50))
        coordinator.step()
    assert rejected(coordinator) == {ANN: 30, EVE: 5}
    assert tables.rejections(coordinator._volume.connection, EVE)[-1].lsn == 199


def test_an_author_has_to_read_its_rejections_before_it_goes_on(stage):
    coordinator = stage.coordinator(limits=LIMITS)
    coordinator.submit(EVE, remove(EVE, 0, 10), rejections_seen=-1, proof=EVES)
    coordinator.step()
    with pytest.raises(CoordinatorBusy, match="10 rejected mutations"):
        coordinator.submit(EVE, put(EVE, 10, 1), rejections_seen=-1, proof=EVES)
    coordinator.submit(ANN, put(ANN, 0, 1), rejections_seen=-1)
    assert coordinator.submit(EVE, put(EVE, 10, 1), rejections_seen=9, proof=EVES).next_lsn == 11
    coordinator.step()
    assert rejected(coordinator) == {}


def test_many_timelines_do_not_fill_the_document_with_rejections(stage):
    coordinator = stage.coordinator(limits=Limits(document_unread=40))
    coordinator.submit(ANN, remove(ANN, 0, 2), rejections_seen=-1)
    coordinator.step()
    for number in range(20):
        made_up = TimelineId(bytes([number]) * 16)
        coordinator.submit(made_up, remove(made_up, 0, 10), rejections_seen=-1)
        coordinator.step()
    assert sum(rejected(coordinator).values()) <= 40
    assert rejected(coordinator)[ANN] >= 1


def test_a_document_has_so_many_timelines(stage):
    coordinator = stage.coordinator(limits=Limits(document_timelines=2))
    for timeline in (ANN, BOB):
        coordinator.submit(timeline, put(timeline, 0, 1))
    coordinator.step()
    with pytest.raises(CoordinatorBusy, match="2 timelines"):
        coordinator.submit(EVE, put(EVE, 0, 1))
    coordinator.submit(ANN, put(ANN, 1, 1))


def test_made_up_timelines_leave_nothing_in_memory(stage):
    coordinator = stage.coordinator(limits=LIMITS)
    for number in range(100):
        coordinator.submit(TimelineId(bytes([number]) * 16), [], rejections_seen=5)
        coordinator.submit(TimelineId(bytes([number]) * 16), [])
    assert coordinator._applier.readers == Readers()


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_document_that_was_offline_for_long_gets_everything_through(stage, monkeypatch, is_taken):
    """It has more than the coordinator takes at once. All of it or nothing of it is rejected, and each call is told."""
    monkeypatch.setattr(sync, "SUBMIT_MUTATIONS_MAX", 8)
    coordinator = stage.coordinator(limits=LIMITS)
    document = stage.client("ann", coordinator)
    receipts = [document.mutate("take", key=str(number), value="ann's") for number in range(35)]
    if is_taken:
        for first in range(0, 35, 5):
            coordinator.submit(BOB, put(BOB, first, 5))
            coordinator.step()
    coordinator.start()
    document.sync(wait_s=60)
    while document.pending():
        document.sync(wait_s=60)
    for number, receipt in enumerate(receipts):
        if is_taken:
            with pytest.raises(MutationRejected, match=f"{number} is taken"):
                receipt.wait(PATIENCE_S)
        else:
            receipt.wait(PATIENCE_S)


@given(
    st.dictionaries(st.sampled_from([ANN, BOB, EVE]), st.lists(st.integers(0, 99), unique=True, min_size=1)),
    st.sets(st.sampled_from([ANN, BOB, EVE])),
    st.integers(0, 30),
)
def test_what_is_kept_is_bounded_and_the_newest_and_shared_fairly(found, blind, total):
    found = {timeline: sorted(lsns) for timeline, lsns in found.items()}
    limits = Limits(unread_kept=5, document_unread=total)
    gone = surplus(found, blind, limits)
    kept = {timeline: [lsn for lsn in lsns if lsn > gone.get(timeline, -1)] for timeline, lsns in found.items()}
    assert sum(map(len, kept.values())) <= total
    for timeline, lsns in kept.items():
        assert timeline not in blind or len(lsns) <= 5
        wanted = min(len(found[timeline]), 5 if timeline in blind else 100)
        if len(lsns) < wanted:  # it lost some because there are too many: nobody has more than one more
            assert all(len(other) <= len(lsns) + 1 for other in kept.values())


def test_unread_ones_are_counted():
    assert [unread_after([2, 5, 7], seen) for seen in (-1, 2, 4, 7, 9)] == [3, 2, 2, 0, 0]


def test_nothing_needs_no_room():
    full = Tally(100, 10**9, {ANN: 100}, {ANN: 10**9})
    require_room(LIMITS, full, ANN, [], unread=100, timelines=None)
