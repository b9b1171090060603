"""Python's documents over the network."""

import threading

import pytest

from sqlsync.documents.document import Document
from sqlsync.envelope import Mutation, Opaque
from sqlsync.errors import (
    CoordinatorRefused,
    CoordinatorUnavailable,
    CorruptTimeline,
    ReducerTooOld,
    TimelineExpired,
    TimelineGap,
)
from sqlsync.ids import TimelineId
from sqlsync.links.http_link import HttpLink
from sqlsync.links.mutation_batch import BATCH_BYTES_MAX, read_batch, write_batches
from testbed.patience import PATIENCE_S
from tests.graft_server import support


def mutation(timeline, lsn, payload=b"put\0a\x001"):
    return Mutation.captured(timeline, lsn, Opaque(payload), actor="me")


@pytest.fixture
def link(server, document):
    made = HttpLink(server.url, document, reducer=support.OpaqueNotes())
    yield made
    made.close()


@pytest.fixture
def open_document(server, document, tmp_path):
    made = []

    def opened(name):
        reducer = support.OpaqueNotes()
        link = HttpLink(server.url, document, reducer=reducer)
        made.append(
            Document(
                tmp_path / name, f"{server.store.url}#{document}", reducer, link=link, actor=name, store=server.store
            )
        )
        return made[-1]

    yield opened
    for each in made:
        each.close()


def notes(document):
    return dict(document.query("SELECT key, value FROM notes ORDER BY key"))


def test_documents_converge_over_the_network(open_document):
    one, other = open_document("one"), open_document("other")
    one.mutate(b"append\0a\x001")
    other.mutate(b"append\0a\x002")
    one.sync(wait_s=10)
    other.sync(wait_s=10)
    one.sync()
    assert notes(one) == notes(other) == {"a": "12"}
    assert not one.pending()


def test_a_document_that_runs_by_itself_converges(open_document):
    one, other = open_document("one"), open_document("other")
    for each in (one, other):
        each.start(poll_s=0.05)
    receipts = [each.mutate(f"append\0{each.timeline}\0x".encode()) for each in (one, other) for _ in range(5)]
    for receipt in receipts:
        receipt.wait(PATIENCE_S)
    support.wait_for(lambda: notes(one) == notes(other) and len(notes(one)) == 2)
    assert set(notes(one).values()) == {"xxxxx"}


def test_answers_say_how_far_a_timeline_is(link):
    timeline = TimelineId.new()
    assert link.submit(timeline, []).next_lsn == 0
    mutations = [mutation(timeline, 0), mutation(timeline, 1)]
    assert link.submit(timeline, mutations).next_lsn == 2
    answer = link.wait(timeline, 1, timeout_s=PATIENCE_S)
    assert (answer.next_lsn, answer.applied) == (2, 1)
    assert answer.volume_lsn > 0
    assert link.wait(timeline, 5, timeout_s=0.05).applied == 1
    assert link.submit(timeline, mutations[1:]).next_lsn == 2


def test_a_gap_says_what_is_wanted(link):
    timeline = TimelineId.new()
    with pytest.raises(TimelineGap) as caught:
        link.submit(timeline, [mutation(timeline, 3)])
    assert caught.value.expected == 0


def test_many_bytes_go_in_several_requests(link):
    timeline, large = TimelineId.new(), b"put\0a\0" + b"x" * (BATCH_BYTES_MAX // 2)
    answer = link.submit(timeline, [mutation(timeline, lsn, large) for lsn in range(5)])
    assert answer.next_lsn == 5


def test_batches_come_back_whatever_their_size():
    timeline = TimelineId.new()
    mutations = [mutation(timeline, lsn, b"x" * size) for lsn, size in enumerate([0, 10, BATCH_BYTES_MAX + 1, 5])]
    batches = list(write_batches(mutations))
    assert [len(read_batch(batch)) for batch in batches] == [2, 1, 1]
    assert [found for batch in batches for found in read_batch(batch)] == mutations
    assert list(write_batches([])) == [b""]
    for end in range(1, len(batches[0])):
        try:
            assert len(read_batch(batches[0][:end])) == 1
        except CorruptTimeline:
            continue


@pytest.mark.parametrize(
    ("path", "body", "status", "name"),
    [
        ("/doc/{document}/timelines/{timeline}", b"\1\0\0\0x", 400, "CorruptTimeline"),
        ("/doc/{document}/timelines/{timeline}", b"\xff" * 4, 400, "CorruptTimeline"),
        ("/doc/{document}/timelines/abc", b"", 400, "BadMessage"),
        ("/doc/abc/timelines/{timeline}", b"", 400, "NotADocument"),
        ("/doc/{document}/timelines/{timeline}?seen=x", b"", 400, "BadMessage"),
        ("/doc/{document}/timelines/{timeline}?reducer=x", b"", 400, "BadMessage"),
    ],
)
def test_bad_requests_are_told_apart(server, document, path, body, status, name):
    url = path.format(document=document, timeline=TimelineId.new())
    url += ("&" if "?" in url else "?") + ("" if "reducer" in url else f"reducer={support.digest_of(support.MODULE)}")
    found, text = support.ask(server, "POST", url, body=body)
    assert (found, name in text) == (status, True)


def test_a_body_that_is_too_large_is_refused(tmp_path, document):
    with support.running(tmp_path, message_bytes_max=65536) as server:
        support.upload(server)
        link = HttpLink(server.url, document, reducer=support.OpaqueNotes())
        timeline = TimelineId.new()
        with pytest.raises(CoordinatorRefused, match="more than 65536"):
            link.submit(timeline, [mutation(timeline, 0, bytes(100_000))])
        link.close()


def test_another_reducer_is_refused(server, document, link):
    timeline = TimelineId.new()
    link.submit(timeline, [mutation(timeline, 0)])
    newer = HttpLink(server.url, document, reducer=support.OpaqueNotes(support.NEWER_MODULE))
    with pytest.raises(CoordinatorRefused, match="upload it first"):
        newer.submit(timeline, [])
    support.upload(server, support.NEWER_MODULE)
    with pytest.raises(CoordinatorRefused, match="was not uploaded to replace"):
        newer.submit(timeline, [])
    support.upload(server, support.NEWER_MODULE, replaces=support.MODULE)
    assert newer.submit(timeline, []).next_lsn == 1
    with pytest.raises(ReducerTooOld, match="upgrade"):
        link.submit(timeline, [mutation(timeline, 1)])
    newer.close()


def test_tokens_are_shown(tmp_path, document):
    with support.running(tmp_path, document_token="secret") as server:
        support.upload(server)
        for token in (None, "wrong"):
            link = HttpLink(server.url, document, reducer=support.OpaqueNotes(), token=token)
            with pytest.raises(CoordinatorRefused, match="needs a token"):
                link.submit(TimelineId.new(), [])
            link.close()
        link = HttpLink(server.url, document, reducer=support.OpaqueNotes(), token="secret")
        assert link.submit(TimelineId.new(), []).next_lsn == 0
        link.close()


def test_a_server_that_is_not_there_is_unavailable(server, document, link):
    server.stop()
    with pytest.raises(CoordinatorUnavailable):
        link.submit(TimelineId.new(), [])


def test_a_closed_link_says_so(link):
    link.close()
    with pytest.raises(CoordinatorUnavailable, match="was closed"):
        link.submit(TimelineId.new(), [])


def test_a_timeline_that_was_forgotten_is_told():
    from sqlsync.links.http_link import _error

    assert isinstance(_error(410, {"error": "TimelineExpired", "message": "gone"}, ""), TimelineExpired)
    assert isinstance(_error(502, {}, "http://x"), CoordinatorUnavailable)
    assert isinstance(_error(404, {"error": "Exception"}, "http://x"), CoordinatorRefused)
    assert isinstance(_error(409, {"error": "TimelineGap"}, "http://x"), CoordinatorRefused)


def test_presence_is_seen_by_others_and_ends(server, document, link):
    heard, told = [], threading.Event()

    def listener(states):
        heard.append(dict(states))
        told.set()

    other = HttpLink(server.url, document, reducer=support.OpaqueNotes())
    link.submit(TimelineId.new(), [])
    unsubscribe = other.presence.subscribe(listener)
    assert told.wait(PATIENCE_S)
    link.presence.set("me/1", {"cursor": 3}, ttl_s=30)
    support.wait_for(lambda: {"me/1": {"cursor": 3}} in heard)
    assert other.presence.states() == {"me/1": {"cursor": 3}}
    link.presence.leave("me/1")
    support.wait_for(lambda: heard[-1] == {})
    link.presence.set("me", {"typing": True}, ttl_s=0.05)
    support.wait_for(lambda: {"me": {"typing": True}} in heard and heard[-1] == {})
    with pytest.raises(CoordinatorRefused):
        link.presence.set("me", {}, ttl_s=-1)
    unsubscribe()
    other.close()


def test_documents_say_who_is_there(open_document):
    one, other = open_document("one"), open_document("other")
    one.presence.set({"cursor": 1})
    assert dict(other.presence.states()) == {str(one.timeline): {"cursor": 1}}
    one.close()
    support.wait_for(lambda: dict(other.presence.states()) == {})


def test_those_who_fall_silent_are_missed(link):
    heard = []
    link.submit(TimelineId.new(), [])
    unsubscribe = link.presence.subscribe(lambda states: heard.append(dict(states)))
    link.presence.set("me", {"typing": True}, ttl_s=0.2)
    support.wait_for(lambda: {"me": {"typing": True}} in heard and heard[-1] == {})
    unsubscribe()
