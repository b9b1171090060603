import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft_server.replication import FILLERS_MAX, Changes, Filler, HistoryReplaced, Outgoing
from graft_server.wire import WINDOW_FRAMES_MAX, BadMessage, Empty, Span

BASE = 1000


def all_due(outgoing, head):
    return list(iter(lambda: outgoing.due(head), None))


def test_a_new_client_gets_everything_in_the_frame_that_it_waits_for():
    outgoing = Outgoing.to(Empty(BASE + 5), BASE, BASE + 5)
    assert all_due(outgoing, BASE + 5) == [Changes(BASE + 5, None)]


def test_a_new_client_of_an_empty_document_waits_for_its_first_frame():
    outgoing = Outgoing.to(Empty(BASE + 1), BASE, BASE)
    assert all_due(outgoing, BASE) == []
    assert all_due(outgoing, BASE + 1) == [Changes(BASE + 1, None)]


def test_a_client_that_was_away_gets_one_frame_and_fillers():
    outgoing = Outgoing.to(Span(BASE + 2, BASE + 4), BASE, BASE + 7)
    assert all_due(outgoing, BASE + 7) == [Changes(BASE + 5, BASE + 4), Filler(BASE + 6), Filler(BASE + 7)]
    assert all_due(outgoing, BASE + 7) == []
    assert all_due(outgoing, BASE + 8) == [Changes(BASE + 8, BASE + 7)]


def test_a_client_that_has_everything_gets_nothing():
    assert all_due(Outgoing.to(Span(BASE + 1, BASE + 7), BASE, BASE + 7), BASE + 7) == []


def test_changes_that_come_between_fillers_are_sent_at_once():
    outgoing = Outgoing.to(Span(BASE + 1, BASE + 1), BASE, BASE + 9)
    assert outgoing.due(BASE + 9) == Changes(BASE + 2, BASE + 1)
    assert outgoing.due(BASE + 10) == Changes(BASE + 3, BASE + 9)
    assert all_due(outgoing, BASE + 10) == [Filler(BASE + lsn) for lsn in range(4, 11)]


def test_no_more_than_a_window_is_on_its_way():
    outgoing = Outgoing.to(Span(BASE + 1, BASE + 1), BASE, BASE + 300)
    assert len(all_due(outgoing, BASE + 300)) == WINDOW_FRAMES_MAX
    outgoing.acknowledge(Span(BASE + 1, BASE + 31))
    assert len(all_due(outgoing, BASE + 300)) == 30


@pytest.mark.parametrize(
    "client",
    [
        Span(BASE, BASE + 3),
        Span(5, 7),
        Span(BASE + 1, BASE + 8),
        Empty(BASE),
        Empty(BASE + 9),
        Empty(0),
    ],
)
def test_what_this_history_never_had_is_refused(client):
    with pytest.raises(HistoryReplaced):
        Outgoing.to(client, BASE, BASE + 7)


def test_a_client_that_is_much_too_far_behind_is_refused():
    Outgoing.to(Span(BASE + 1, BASE + 1), BASE, BASE + FILLERS_MAX + 1)
    with pytest.raises(HistoryReplaced, match="behind"):
        Outgoing.to(Span(BASE + 1, BASE + 1), BASE, BASE + FILLERS_MAX + 2)


@pytest.mark.parametrize("range_", [Span(BASE + 1, BASE + 4), Span(BASE + 1, BASE + 8), Empty(BASE + 6)])
def test_acknowledgements_of_what_was_not_sent_are_refused(range_):
    outgoing = Outgoing.to(Span(BASE + 1, BASE + 5), BASE, BASE + 7)
    all_due(outgoing, BASE + 7)
    with pytest.raises(BadMessage):
        outgoing.acknowledge(range_)


@given(st.lists(st.one_of(st.tuples(st.just("move"), st.integers(1, 5)), st.just(("take", 1)), st.just(("leave", 0)))))
def test_a_client_always_holds_what_its_number_says_or_newer(steps):
    """A model of client and volume: pages are LSNs at which they changed; the volume at LSN n has pages 1…n."""
    head, first, last, pages = BASE + 1, None, None, set()
    outgoing = Outgoing.to(Empty(head), BASE, head)

    def take(due):
        nonlocal first, last
        assert due.lsn == (due.lsn if last is None else last + 1)
        if isinstance(due, Changes):
            pages.update(range((BASE if due.since is None else due.since) + 1, head + 1))
        first, last = first or due.lsn, due.lsn
        outgoing.acknowledge(Span(first, last))
        assert pages >= set(range(BASE + 1, last + 1))
        assert pages == set(range(BASE + 1, max(pages) + 1))

    for step, count in steps:
        if step == "move":
            head += count
        elif step == "take":
            due = outgoing.due(head)
            if due is not None:
                take(due)
        elif last is not None:
            outgoing = Outgoing.to(Span(first, last), BASE, head)
    for due in all_due(outgoing, head):
        take(due)
    assert pages == set(range(BASE + 1, head + 1))
