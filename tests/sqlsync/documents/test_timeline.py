"""The timeline: durable before anything runs, dense, and every rejection told once."""

import sqlite3

import pytest

from graft.errors import Unsupported
from sqlsync.documents.timeline import FILE, Timeline, ViewMark
from sqlsync.envelope import Mutation, Named
from sqlsync.errors import CorruptTimeline
from tests.graft.support import fast_directory


@pytest.fixture
def path():
    with fast_directory() as directory:
        yield directory / FILE


def call(timeline, name="put", **arguments):
    mutation = Mutation.captured(timeline.id, timeline.next_lsn, Named(name, arguments))
    timeline.append(mutation)
    return mutation


def test_what_was_appended_is_there_when_the_file_is_opened_again(path):
    timeline = Timeline(path)
    called = [call(timeline, key=number) for number in range(3)]
    timeline.close()
    again = Timeline(path)
    assert again.pending() == called
    assert (again.id, again.start, again.next_lsn) == (called[0].timeline, 0, 3)
    again.close()


def test_an_append_is_on_the_disk_before_it_returns(path):
    timeline = Timeline(path)
    assert timeline._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: the WAL is synced at each commit
    call(timeline)
    copy = sqlite3.connect(path)
    assert copy.execute("SELECT count(*) FROM mutations").fetchone() == (1,)
    copy.close()
    timeline.close()


def test_the_last_one_can_be_taken_back_and_its_lsn_is_used_again(path):
    timeline = Timeline(path)
    first = call(timeline, key=1)
    timeline.take_back(call(timeline, key=2))
    third = call(timeline, key=3)
    assert third.lsn == 1
    assert timeline.pending() == [first, third]
    timeline.close()


def test_confirming_drops_the_prefix_and_keeps_the_count(path):
    timeline = Timeline(path)
    called = [call(timeline, key=number) for number in range(5)]
    assert timeline.confirm(2) == []
    assert timeline.pending() == called[3:]
    assert timeline.confirm(1) == []  # older news
    assert timeline.confirm(4) == []
    timeline.close()
    again = Timeline(path)
    assert again.pending() == []
    assert call(again).lsn == 5
    again.close()


def test_a_rejection_is_new_once_and_kept_until_it_is_forgotten(path):
    timeline = Timeline(path)
    called = [call(timeline, key=number) for number in range(3)]
    (fresh,) = timeline.confirm(1, [(1, "taken")])
    assert (fresh.mutation, fresh.reason) == (called[1], "taken")
    assert timeline.confirm(1, [(1, "taken")]) == []
    timeline.close()
    again = Timeline(path)
    assert again.confirm(2, [(1, "taken")]) == []
    assert again.rejections_seen == 2
    assert again.refusals() == [fresh]
    again.forget(fresh.mutation)
    assert again.refusals() == []
    again.close()


def test_a_new_name_takes_all_pending_mutations_along(path):
    timeline = Timeline(path)
    old = timeline.id
    called = [call(timeline, key=number) for number in range(4)]
    timeline.confirm(1, [(0, "no")])
    assert timeline.renew() != old
    assert [(m.timeline, m.lsn, m.body, m.seed) for m in timeline.pending()] == [
        (timeline.id, lsn, mutation.body, mutation.seed) for lsn, mutation in enumerate(called[2:])
    ]
    timeline.close()
    again = Timeline(path)
    assert (again.start, again.next_lsn, again.rejections_seen) == (0, 2, -1)
    assert [refusal.mutation for refusal in again.refusals()] == called[:1]
    again.close()


def test_the_mark_of_the_view_counts_once(path):
    timeline = Timeline(path)
    timeline.mark_view(ViewMark(3, 7, 2))
    assert timeline.take_view_mark() == ViewMark(3, 7, 2)
    assert timeline.take_view_mark() is None
    timeline.close()


def damaged(path, sql):
    timeline = Timeline(path)
    for number in range(3):
        call(timeline, key=number)
    timeline.close()
    database = sqlite3.connect(path)
    database.execute(sql)
    database.commit()
    database.close()


def test_a_hole_is_an_error_and_not_skipped(path):
    damaged(path, "DELETE FROM mutations WHERE lsn = 1")
    with pytest.raises(CorruptTimeline, match="holds 2 mutations"):
        Timeline(path)


def test_a_flipped_bit_is_an_error_and_never_a_mutation(path):
    damaged(path, "UPDATE mutations SET data = zeroblob(length(data)) WHERE lsn = 1")
    timeline = Timeline(path)
    with pytest.raises(CorruptTimeline, match="checksum"):
        timeline.pending()
    timeline.close()


def test_a_newer_format_is_left_alone(path):
    damaged(path, "PRAGMA user_version = 3")
    with pytest.raises(Unsupported, match="upgrade"):
        Timeline(path)
