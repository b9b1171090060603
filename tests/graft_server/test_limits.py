"""One client or document must not harm another: what is full, slow or hung, and what is told of that."""

import contextlib
import json
import resource
import socket
import threading
from dataclasses import replace

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from graft.errors import LocalStorageError
from graft_server import descriptors, host
from graft_server.error_replies import error_reply, without_paths
from graft_server.wire import RangeRequest, Span, encode
from pagestore.testing import FaultyStore
from sqlsync.coordination import coordinator
from sqlsync.coordination.limits import Limits, require_room
from sqlsync.envelope import Mutation, Opaque
from sqlsync.errors import CoordinatorBusy, CoordinatorUnavailable, DocumentBusy
from sqlsync.ids import TimelineId
from sqlsync.links import presence
from sqlsync.links.http_link import HttpLink, _error
from sqlsync.links.mutation_batch import write_batches
from testbed.patience import PATIENCE_S
from tests.graft import support as graft_support
from tests.graft_server import support
from tests.graft_server.wire_client import WireClient


def ids(server, count):
    return [support.ask(server, "GET", f"/new/{number}")[1] for number in range(count)]


def put(link, timeline, lsn, key="a"):
    mutation = Mutation.captured(timeline, lsn, Opaque(f"put\0{key}\0x".encode()))
    return link.submit(timeline, [mutation])


def raw(server, request):
    """Send bytes as they are; return the connection."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
    connection.sendall(request)
    return connection


def reply(connection):
    """The status line, the headers and the body of an answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(status.split()[1]), headers, body.decode()


class HungStore(FaultyStore):
    """A store that stops answering when ``answers`` is cleared, and releases ``asked`` for each call from then on."""

    def __init__(self, inner):
        super().__init__(inner)
        self.always = self._wait
        self.answers = threading.Event()
        self.answers.set()
        self.asked = threading.Semaphore(0)

    def _wait(self, method, *args, **named):
        if not self.answers.is_set():
            self.asked.release()
            self.answers.wait(PATIENCE_S)
        return method(*args, **named)


# Documents


def test_made_up_ids_make_room_for_those_that_come_later(tmp_path):
    with support.running(tmp_path, documents_max=3) as server:
        support.upload(server)
        reducer = support.OpaqueNotes()
        one = WireClient(document := ids(server, 1)[0]).connect(server.websocket_url(document))
        one.mutate("put", "a", "1")
        one.settle()
        for made_up in ids(server, 10):
            link = HttpLink(server.url, made_up, reducer=reducer)
            assert link.submit(TimelineId.new(), []).next_lsn == 0
            link.close()
        assert len(server.served) <= 3
        assert document in server.served
        one.mutate("put", "b", "2")
        one.settle()
        one.disconnect()


def test_a_document_that_nobody_wrote_to_leaves_no_directory(tmp_path):
    with support.running(tmp_path, idle_s=0.0) as server:
        support.upload(server)
        written, blank = ids(server, 2)
        for document in (written, blank):
            link, timeline = HttpLink(server.url, document, reducer=support.OpaqueNotes()), TimelineId.new()
            if document == written:
                put(link, timeline, 0)
                assert link.wait(timeline, 0, timeout_s=PATIENCE_S).applied == 0
            else:
                link.submit(timeline, [])
            link.close()
        support.wait_for(lambda: not server.served and not server.app.state.host._tasks)
        assert [each.name for each in (tmp_path / "documents").iterdir()] == [written]
        link = HttpLink(server.url, blank, reducer=support.OpaqueNotes())
        assert put(link, TimelineId.new(), 0).next_lsn == 1
        link.close()


def test_connections_to_documents_that_nobody_wrote_to_make_room(tmp_path):
    with support.running(tmp_path, documents_max=2, blank_s=0.0) as server:
        support.upload(server)
        made_up = [WireClient(document).connect(server.websocket_url(document)) for document in ids(server, 2)]
        (*_, mine) = ids(server, 3)
        client = WireClient(mine).connect(server.websocket_url(mine))
        client.mutate("put", "a", "1")
        client.settle()
        with pytest.raises(ConnectionClosed) as caught:
            made_up[0].receive()
        assert caught.value.rcvd.code == 1012
        for each in (client, *made_up):
            each.disconnect()


@pytest.mark.parametrize(("limit", "found"), [(1024, 29), (64, 1), (1_000_000, 500), (resource.RLIM_INFINITY, 500)])
def test_no_more_documents_are_opened_than_there_are_descriptors_for(monkeypatch, limit, found):
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (limit, limit))
    assert descriptors.documents_that_fit(500) == found


# The store


def test_a_store_that_does_not_answer_keeps_no_document_from_taking_mutations(tmp_path):
    store = HungStore(graft_support.fresh_store())
    with support.running(tmp_path, store, threads=4, close_s=0.05, call_s=0.2, open_s=0.2) as server:
        support.upload(server)
        documents = ids(server, 8)
        links = [HttpLink(server.url, document, reducer=support.OpaqueNotes()) for document in documents]
        timelines = [TimelineId.new() for _ in links]
        for link, timeline in zip(links, timelines, strict=True):
            put(link, timeline, 0)
            assert link.wait(timeline, 0, timeout_s=PATIENCE_S).applied == 0
        store.answers.clear()
        try:
            for link, timeline in zip(links, timelines, strict=True):
                assert put(link, timeline, 1).next_lsn == 2
            for _ in links:
                assert store.asked.acquire(timeout=PATIENCE_S)
            for link, timeline in zip(links, timelines, strict=True):
                assert put(link, timeline, 2).next_lsn == 3
            new = HttpLink(server.url, ids(server, 9)[-1], reducer=support.OpaqueNotes())
            with pytest.raises(CoordinatorUnavailable, match="takes too long; try again later") as caught:
                new.submit(TimelineId.new(), [])
            assert caught.value.retry_after_s > 0
        finally:
            store.answers.set()
        for link, timeline in zip(links, timelines, strict=True):
            assert link.wait(timeline, 2, timeout_s=PATIENCE_S).applied == 2
        support.wait_for(lambda: new.submit(TimelineId.new(), []).next_lsn == 0)
        for link in (*links, new):
            link.close()


def test_a_server_ends_although_its_store_does_not_answer(tmp_path):
    store = HungStore(graft_support.fresh_store())
    try:
        with support.running(tmp_path, store, close_s=0.05) as server:
            support.upload(server)
            (document,) = ids(server, 1)
            link, timeline = HttpLink(server.url, document, reducer=support.OpaqueNotes()), TimelineId.new()
            put(link, timeline, 0)
            assert link.wait(timeline, 0, timeout_s=PATIENCE_S).applied == 0
            store.answers.clear()
            put(link, timeline, 1)
            assert store.asked.acquire(timeout=PATIENCE_S)
            link.close()
            server.stop()
    finally:
        store.answers.set()


class SlowNotes(support.OpaqueNotes):
    """A reducer that takes as long as the test says."""

    goes_on = threading.Event()
    began = threading.Semaphore(0)

    def apply(self, context):
        if context.mutation.body.payload.startswith(b"slow"):
            self.began.release()
            self.goes_on.wait(PATIENCE_S)
        else:
            super().apply(context)


def test_a_slow_document_stops_no_other(tmp_path):
    SlowNotes.goes_on.clear()
    with support.running(tmp_path, threads=4, load_reducer=SlowNotes) as server:
        support.upload(server)
        slow, quick = ids(server, 2)
        client = WireClient(slow).connect(server.websocket_url(slow))
        client.mutate("slow")
        assert SlowNotes.began.acquire(timeout=PATIENCE_S)
        behind = encode(RangeRequest(bytes(16), Span(0, 4)))  # the server asks the store whether it has that
        with contextlib.ExitStack() as others:
            try:
                for _ in range(10):
                    other = others.enter_context(connect(server.websocket_url(slow), compression=None))
                    other.recv(timeout=PATIENCE_S)
                    other.send(behind)
                fine = WireClient(quick).connect(server.websocket_url(quick))
                fine.mutate("put", "a", "1")
                fine.settle()
                fine.disconnect()
            finally:
                SlowNotes.goes_on.set()
        client.disconnect()


# Bodies


def test_a_body_that_does_not_arrive_is_not_waited_for(tmp_path, document):
    with support.running(tmp_path, body_s=0.05) as server:
        support.upload(server)
        path = f"/doc/{document}/timelines/{TimelineId.new()}?reducer={support.digest_of(support.MODULE)}"
        with raw(server, f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf".encode()) as half:
            status, _, body = reply(half)
    assert (status, json.loads(body)["error"]) == (408, "TooSlow")


def test_bodies_that_are_half_there_are_counted_for_their_client(tmp_path, document):
    with support.running(tmp_path, bodies_bytes_max=4 * 65536, message_bytes_max=65536) as server:
        support.upload(server)
        path = f"/doc/{document}/timelines/{TimelineId.new()}?reducer={support.digest_of(support.MODULE)}"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n".encode()
        with raw(server, head + bytes(50_000)):
            support.wait_for(lambda: server.app.state.host.bodies._held == 50_000)
            assert not server.served  # a body that is not there opens no document
            with raw(server, head + bytes(50_000)) as other:
                status, headers, body = reply(other)
        assert (status, json.loads(body)["error"]) == (429, "HolderOverBudget")
        assert int(headers["retry-after"]) > 0
        support.wait_for(lambda: server.app.state.host.bodies._held == 0)


def test_presence_that_is_full_says_when_to_try_again(server, document, monkeypatch):
    monkeypatch.setattr(presence, "CLIENTS_MAX", 2)
    link = HttpLink(server.url, document, reducer=support.OpaqueNotes())
    for client in ("a", "b", "a"):
        link.presence.set(client, {})
    with pytest.raises(CoordinatorBusy, match="2 clients") as caught:
        link.presence.set("c", {})
    assert caught.value.retry_after_s > 0
    link.presence.leave("b")
    link.presence.set("c", {})
    link.close()


# Mutations


def test_rejected_frames_do_not_fill_what_new_browsers_load(server, document):
    attacker, other = (WireClient(document).connect(server.websocket_url(document)) for _ in range(2))
    for _ in range(4):
        for _ in range(75):
            attacker.mutate("reject", "no " * 300)
        attacker.settle()
    other.mutate("put", "a", "1")
    other.settle()
    database = other.database()
    (count,) = database.execute("SELECT count(*) FROM __sqlsync_rejections").fetchone()
    database.close()
    assert count <= 100
    fresh = WireClient(document).connect(server.websocket_url(document))
    fresh.settle(lambda notes: notes == {"a": "1"})
    assert sum(fresh.sizes) < 1024 * 1024
    for client in (attacker, other, fresh):
        client.disconnect()


def test_a_client_whose_document_takes_no_more_is_kept_waiting(tmp_path, document, monkeypatch):
    """The store does not answer: frames are taken while there is room, and the others once there is again."""
    refused = threading.Semaphore(0)

    def noticed(*arguments, **named):
        try:
            require_room(*arguments, **named)
        except CoordinatorBusy:
            refused.release()
            raise

    monkeypatch.setattr(coordinator, "require_room", noticed)
    monkeypatch.setattr(host, "LIMITS", Limits(timeline_mutations=20))
    store = HungStore(graft_support.fresh_store())
    with support.running(tmp_path, store) as server:
        support.upload(server)
        client = WireClient(document).connect(server.websocket_url(document))
        client.mutate("put", "a", "")
        client.settle()
        store.answers.clear()
        try:
            client.mutate("append", "a", "0,")
            assert store.asked.acquire(timeout=PATIENCE_S)
            for count in range(1, 50):
                client.mutate("append", "a", f"{count},")
            taken = server.served[document].coordinator
            assert refused.acquire(timeout=PATIENCE_S)
            assert 0 < len(taken._inbox) <= 20
        finally:
            store.answers.set()
        client.settle()
        assert client.notes() == {"a": "".join(f"{count}," for count in range(50))}
        client.disconnect()


def test_a_batch_of_too_many_mutations_is_refused(server, document):
    timeline = TimelineId.new()
    mutation = Mutation.captured(timeline, 0, Opaque(b"put\0a\x001"))
    batch = b"".join(write_batches([replace(mutation, lsn=lsn) for lsn in range(3000)]))
    path = f"/doc/{document}/timelines/{timeline}?reducer={support.digest_of(support.MODULE)}"
    status, text = support.ask(server, "POST", path, body=batch)
    assert (status, json.loads(text)["error"]) == (413, "TooLarge")


# Hosts


@pytest.mark.parametrize(
    ("named", "allowed"),
    [
        ("127.0.0.1:{port}", True),
        ("localhost:{port}", True),
        ("app.localhost", True),
        ("[::1]:{port}", True),
        ("192.168.1.7", True),
        ("documents.example", True),
        ("Documents.Example.:443", True),
        ("evil.example:{port}", False),
        ("127.0.0.1.evil.example", False),
        ("documents.example.evil.example", False),
        ("localhost.evil.example:{port}", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("path", ["/", "/new", "/doc/{document}/presence", "/doc/{document}"])
def test_a_name_that_was_pointed_here_is_refused(tmp_path, document, named, allowed, path):
    """A page of http://evil.example, whose name now points to this server: which is its origin for the browser."""
    with support.running(tmp_path, hosts=("documents.example",)) as server:
        support.upload(server)
        named = named.format(port=server.port)
        path = path.format(document=document) + f"?reducer={support.digest_of(support.MODULE)}"
        origin = f"Origin: http://{named}\r\n"
        if "presence" in path or path.startswith(("/?", "/new")):
            with raw(server, f"GET {path} HTTP/1.1\r\nHost: {named}\r\n{origin}\r\n".encode()) as connection:
                status, _, body = reply(connection)
            assert status == (200 if allowed else 421)
            assert allowed or "--allow-host" in body
            return
        upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        request = f"GET {path} HTTP/1.1\r\nHost: {named}\r\n{origin}{upgrade}{key}\r\n"
        with raw(server, request.encode()) as connection:
            received = b""
            while b"\r\n\r\n" not in received or not received.partition(b"\r\n\r\n")[2]:
                received += connection.recv(65536)
        assert (b"does not answer for host" in received) is not allowed


# What errors say


@pytest.mark.parametrize("kind", ["busy", "broken"])
def test_errors_show_no_paths_of_the_server(tmp_path, document, kind):
    with support.running(tmp_path) as server:
        support.upload(server)
        directory = tmp_path / "documents" / document
        if kind == "busy":
            from graft.disk.locks import FileLock

            directory.mkdir(parents=True)
            lock = FileLock(directory / "document.lock", "the test")
            assert lock.try_acquire()
        else:
            directory.parent.mkdir(parents=True)
            directory.write_text("this is no directory")
        url = f"/doc/{document}/timelines/{TimelineId.new()}?reducer={support.digest_of(support.MODULE)}"
        with raw(server, f"POST {url} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()) as connection:
            status, headers, body = reply(connection)
        with connect(server.websocket_url(document)) as client, pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=PATIENCE_S)
    assert status == (503 if kind == "busy" else 500)
    assert ("retry-after" in headers) == (kind == "busy")
    for text in (body, caught.value.rcvd.reason):
        assert text
        assert str(tmp_path) not in text
        assert document not in text


@pytest.mark.parametrize(
    "error",
    [LocalStorageError("/srv/x: no"), OSError(2, "no", "/srv/x"), DocumentBusy("/srv/x"), KeyError("/srv/x")],
)
def test_what_an_error_of_the_servers_own_says_stays_in_its_log(error):
    assert "/srv" not in error_reply(error).message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("LocalStorageError: opening /srv/x/documents/a: no", "LocalStorageError: opening …: no"),
        ("DocumentBusy: another object has /srv/x y open", "DocumentBusy: another object has … y open"),
        ("listing s3://bucket/prefix/logs: 503", "listing …: 503"),
        ("'/srv/x' and file:///srv/x.", "'…' and …."),
        ("10 s and/or 1/2: out of the blue", "10 s and/or 1/2: out of the blue"),
    ],
)
def test_trouble_is_told_without_paths(text, told):
    assert without_paths(text) == told


def test_a_link_knows_when_to_try_again():
    busy = _error(429, {"error": "HolderOverBudget", "message": "much"}, "", "7")
    assert isinstance(busy, CoordinatorBusy)
    assert busy.retry_after_s == 7
    full = _error(503, {"error": "ServerFull", "message": "full"}, "", "2")
    assert (type(full), full.retry_after_s) == (CoordinatorUnavailable, 2)
    assert _error(503, {}, "http://x", "Wed, 21 Oct 2026 07:28:00 GMT").retry_after_s is None
