"""Clients of SQLSync's protocol against the server."""

import contextlib
import os
import struct

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from graft_server import connection as connection_module
from graft_server import storage as storage_module
from sqlsync.documents.document import Document
from sqlsync.ids import TimelineId
from sqlsync.links.http_link import HttpLink
from testbed.patience import PATIENCE_S
from tests.graft import support as graft_support
from tests.graft_server import support
from tests.graft_server.wire_client import PAGE, WireClient


@pytest.fixture
def tabs(server, document):
    """Make clients, and let go of them."""
    made = []

    def tab(*, online=True, url=None):
        client = WireClient(document)
        made.append(client)
        return client.connect(url or server.websocket_url(document)) if online else client

    yield tab
    for client in made:
        if client.socket is not None:
            client.disconnect()


def test_two_clients_converge(tabs):
    first, second = tabs(), tabs()
    first.mutate("put", "a", "1")
    first.settle()
    second.mutate("append", "a", "2")
    second.settle()
    assert second.notes() == {"a": "12"}
    first.settle(lambda notes: notes == {"a": "12"})


def test_what_was_called_offline_is_applied_once_when_the_client_comes_back(tabs, server, document):
    first, second = tabs(), tabs(online=False)
    for word in "abc":
        second.mutate("append", "offline", word)
    first.mutate("append", "offline", "0")
    first.settle()
    second.connect(server.websocket_url(document)).settle()
    assert second.notes() == {"offline": "0abc"}
    second.disconnect()
    second.mutate("append", "offline", "d")
    second.connect(server.websocket_url(document)).settle()
    second.disconnect()
    second.connect(server.websocket_url(document)).settle()
    first.settle(lambda notes: notes == {"offline": "0abcd"})


def test_a_client_gets_a_database_that_sqlite_finds_whole(tabs):
    client = tabs()
    client.mutate("fill", "key", "200")
    client.settle()
    database = client.database()
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert {"notes", "__sqlsync_timelines"} <= tables
    database.close()


def test_a_client_is_made_to_look_twice_at_a_changed_schema(tabs):
    """The published client takes a live query's root pages from the schema before, unless its cookie changes again."""

    def cookie():
        database = client.database()
        (found,) = database.execute("PRAGMA schema_version").fetchone()
        database.close()
        return found

    client = tabs()
    cookies = []
    for name in ("put", "put", "put", "index", "put", "put"):
        client.mutate(name, "a", name)
        client.settle()
        cookies.append(cookie())
    assert len(set(cookies)) == 4 - (cookies[0] == cookies[1])
    assert cookies[1] == cookies[2] != cookies[3] != cookies[4] == cookies[5]


def test_the_table_of_timelines_comes_first_as_in_the_client(tabs):
    client = tabs()
    client.mutate("put", "a", "1")
    client.settle()
    database = client.database()
    names = [
        name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rootpage")
    ]
    database.close()
    assert names[:2] == ["__sqlsync_timelines", "notes"]


def test_a_small_change_is_a_small_frame(tabs):
    client = tabs()
    client.mutate("fill", "key", "2000")
    client.settle()
    client.mutate("put", "key1", "changed")
    client.settle()
    assert client.sizes[-1] < 20 * (PAGE + 4) < sum(client.sizes) // 10


def test_a_late_client_gets_the_document_in_one_frame(tabs):
    early = tabs()
    for count in range(5):
        early.mutate("put", str(count), "x")
        early.settle()
    late = tabs()
    late.settle(lambda notes: len(notes) == 5)
    assert len(late.sizes) == 1


def test_a_client_that_was_away_gets_only_what_changed(tabs, server, document):
    busy, away = tabs(), tabs()
    busy.mutate("fill", "key", "2000")
    busy.settle()
    away.settle(lambda notes: len(notes) == 2000)
    away.disconnect()
    for count in range(5):
        busy.mutate("put", "key1", str(count))
        busy.settle()
    away.connect(server.websocket_url(document))
    whole = max(away.sizes)
    away.sizes.clear()
    away.settle(lambda notes: notes["key1"] == "4")
    assert max(away.sizes) < whole / 10
    assert away.notes() == busy.notes()


def test_a_document_that_shrank_can_be_read(tabs, server):
    client = tabs()
    client.mutate("fill", "key", "500")
    client.settle()
    client.mutate("clear")
    client.mutate("put", "left", "over")
    client.settle(lambda notes: notes == {"left": "over"})
    client.mutate("fill", "again", "100")
    client.settle(lambda notes: len(notes) == 101)


def test_a_rejected_mutation_takes_nobody_along_and_its_reason_can_be_read(tabs):
    client = tabs()
    client.mutate("put", "a", "1")
    client.mutate("reject", "not like this")
    client.mutate("put", "b", "2")
    client.settle()
    assert client.notes() == {"a": "1", "b": "2"}
    database = client.database()
    assert database.execute("SELECT lsn, reason FROM __sqlsync_rejections").fetchall() == [(1, "not like this")]
    database.close()


def test_time_and_seed_are_captured_by_the_server(tabs):
    client = tabs()
    client.mutate("put", "a", "1")
    client.mutate("put", "b", "2")
    client.settle()
    database = client.database()
    rows = database.execute("SELECT seed, time FROM notes ORDER BY key").fetchall()
    database.close()
    assert len(set(rows)) == 2
    assert all(seed.isdecimal() and time.endswith("+00:00") for seed, time in rows)


def test_documents_are_apart(server):
    names = [support.ask(server, "GET", f"/new/{name}")[1] for name in ("one", "two")]
    clients = [WireClient(name).connect(server.websocket_url(name)) for name in names]
    for client, name in zip(clients, names, strict=True):
        client.mutate("put", "name", name)
    for client, name in zip(clients, names, strict=True):
        client.settle()
        assert client.notes() == {"name": name}
        client.disconnect()


def test_a_restarted_server_goes_on_where_its_clients_are(tmp_path, document):
    store = graft_support.fresh_store()
    client = WireClient(document)
    with support.running(tmp_path / "server", store) as server:
        support.upload(server)
        client.connect(server.websocket_url(document))
        client.mutate("fill", "key", "2000")
        client.settle()
    with pytest.raises(ConnectionClosed):
        client.receive()
    client.disconnect()
    client.mutate("put", "key1", "while it was down")
    with support.running(tmp_path / "server", store) as server:
        client.sizes.clear()
        client.connect(server.websocket_url(document)).settle()
        assert client.notes()["key1"] == "while it was down"
        assert max(client.sizes) < 20 * (PAGE + 4)
        client.disconnect()


def test_two_servers_serve_one_document(tmp_path, document):
    store = graft_support.fresh_store()
    with support.running(tmp_path / "a", store) as one, support.running(tmp_path / "b", store) as other:
        support.upload(one)
        first = WireClient(document).connect(one.websocket_url(document))
        second = WireClient(document).connect(other.websocket_url(document))
        for count in range(3):
            first.mutate("append", "a", f"{count}")
            second.mutate("append", "b", f"{count}")
        first.settle(lambda notes: notes == {"a": "012", "b": "012"})
        second.settle(lambda notes: notes == {"a": "012", "b": "012"})
        first.disconnect()
        first.mutate("append", "a", "3")
        first.connect(other.websocket_url(document)).settle()  # what the one said, the other knows
        assert first.notes() == {"a": "0123", "b": "012"}
        first.disconnect()
        second.disconnect()


def test_a_client_of_a_replaced_document_is_told_to_begin_anew(tmp_path, document):
    client = WireClient(document)
    for name in "ab":
        with support.running(tmp_path / name) as server:
            support.upload(server)
            if name == "a":
                client.connect(server.websocket_url(document))
                client.mutate("put", "a", "1")
                client.settle()
                client.disconnect()
            else:
                with pytest.raises(ConnectionClosed) as caught:
                    client.connect(server.websocket_url(document))
                assert caught.value.rcvd.code == 4410
                client.disconnect()


def test_a_hundred_pending_mutations_and_more_are_taken_without_another_call(tabs, server, document):
    """The published client stops when its window is full, until it connects again or something is called."""
    client = tabs(online=False)
    for count in range(250):
        client.mutate("append", "a", f"{count},")
    client.flush = _flush_once(client)
    rounds = 0
    while client.timeline.entries:
        rounds += 1
        client.connect(server.websocket_url(document))
        with contextlib.suppress(ConnectionClosed):
            client.settle()
    assert rounds == 3
    assert client.notes() == {"a": "".join(f"{count}," for count in range(250))}


def _flush_once(client):
    def flush(flushed=set()):  # noqa: B006 - one set for this client
        if id(client.socket) not in flushed:
            flushed.add(id(client.socket))
            WireClient.flush(client)

    return flush


def test_a_client_that_was_silent_with_a_full_window_is_made_to_connect_again(tabs, monkeypatch):
    monkeypatch.setattr(connection_module, "_STALLED_S", 0.05)
    client = tabs()
    for count in range(100):
        client.mutate("append", "a", f"{count},")
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.receive()
    assert caught.value.rcvd.code == 4408


def test_a_pause_between_frames_does_not_leave_the_rest_behind(tabs, server, document, monkeypatch):
    """The line pauses after 60 of 250 frames, for longer than the server waits for a silent client."""
    monkeypatch.setattr(connection_module, "_STALLED_S", 0.001)
    client = tabs(online=False)
    for count in range(250):
        client.mutate("append", "a", f"{count},")

    def send_with_a_pause():
        everything = client.timeline.entries
        client.timeline.entries = {lsn: data for lsn, data in everything.items() if lsn < 60}
        WireClient.flush(client)
        client.timeline.entries = everything
        taken = server.served[document].coordinator
        support.wait_for(lambda: taken.submit(TimelineId(client.id), []).next_lsn == 60)
        WireClient.flush(client)

    client.flush = send_with_a_pause
    client.connect(server.websocket_url(document))
    client.flush = lambda: None
    with pytest.raises(ConnectionClosed) as caught:
        client.settle()
    assert caught.value.rcvd.code == 4408
    client.flush = _flush_once(client)
    while client.timeline.entries:
        client.connect(server.websocket_url(document))
        with contextlib.suppress(ConnectionClosed):
            client.settle()
    assert client.notes() == {"a": "".join(f"{count}," for count in range(250))}


RANGE_REQUEST = struct.pack("<IQ", 0, 16) + b"t" * 16 + struct.pack("<IQ", 0, 0)
FRAME_OF_ANOTHER = struct.pack("<IQ", 2, 16) + b"u" * 16 + struct.pack("<QQ", 0, 1) + b"x"
FRAME_AFTER_A_GAP = struct.pack("<IQ", 2, 16) + b"t" * 16 + struct.pack("<QQ", 7, 3) + b"put"


@pytest.mark.parametrize(
    ("messages", "code", "reason"),
    [
        ([b"\xff" * 40], 4400, "a message of 40 bytes is not valid"),
        ([""], 4400, "the message is text"),
        ([FRAME_OF_ANOTHER], 4400, "the frame is of another timeline"),
        ([RANGE_REQUEST, FRAME_OF_ANOTHER], 4400, "the frame is of another timeline"),
        ([RANGE_REQUEST, RANGE_REQUEST.replace(b"t", b"u")], 4400, "this connection is for timeline"),
        ([RANGE_REQUEST, FRAME_AFTER_A_GAP], 4409, "0 is missing before 7"),
        (
            [struct.pack("<IQ", 0, 16) + b"t" * 16 + struct.pack("<IQ", 0, 9)],
            4410,
            "begins at 9, and the server has deleted 0",
        ),
        ([struct.pack("<IIQQ", 1, 1, 3, 4)], 4410, "which is not of this document's history"),
        ([b"\2" + b"\0" * 70_000], 1009, ""),
    ],
)
def test_a_bad_message_ends_its_connection_and_nothing_else(tmp_path, document, messages, code, reason):
    with support.running(tmp_path, message_bytes_max=65536) as server:
        support.upload(server)
        good = WireClient(document).connect(server.websocket_url(document))
        good.mutate("put", "a", "1")
        good.settle()
        with connect(server.websocket_url(document), compression=None) as bad:
            for message in messages:
                bad.send(message)
            with pytest.raises(ConnectionClosed) as caught:
                while True:
                    bad.recv(timeout=PATIENCE_S)
        assert caught.value.rcvd.code == code
        assert reason in caught.value.rcvd.reason
        good.mutate("put", "b", "2")
        good.settle()
        good.disconnect()


def test_a_gap_is_answered_with_what_is_wanted(server, document):
    with connect(server.websocket_url(document), compression=None) as bad:
        bad.send(RANGE_REQUEST)
        bad.send(FRAME_AFTER_A_GAP)
        answers = []
        with pytest.raises(ConnectionClosed):
            while True:
                answers.append(bad.recv(timeout=PATIENCE_S))
    wants_0 = struct.pack("<IIQ", 1, 0, 0)
    assert answers[1:] == [wants_0, wants_0]


def test_a_document_that_is_too_large_is_refused_with_a_reason(tmp_path, document):
    with support.running(tmp_path, frame_bytes_max=256 * 1024) as server:
        support.upload(server)
        client = WireClient(document).connect(server.websocket_url(document))
        client.mutate("fill", "key", "1000")
        with pytest.raises(ConnectionClosed) as caught:
            client.settle()
    assert caught.value.rcvd.code == 4413
    assert "more than the limit of" in caught.value.rcvd.reason


def test_versions_that_were_seen_long_ago_are_looked_up_in_the_remote(tabs, server, document, monkeypatch):
    monkeypatch.setattr(storage_module, "_STEPS_KEPT", 1)
    busy, away = tabs(), tabs()
    busy.mutate("fill", "key", "2000")
    busy.settle()
    away.settle(lambda notes: len(notes) == 2000)
    away.disconnect()
    for count in range(9):
        busy.mutate("put", f"key{count}", str(os.urandom(300).hex()))
        busy.settle()
    away.connect(server.websocket_url(document))
    away.settle(lambda notes: notes == busy.notes())


def test_python_and_sqlsync_clients_share_a_document(tabs, tmp_path, server, document):
    tab = tabs()
    tab.mutate("put", "a", "tab")
    tab.settle()
    reducer = support.OpaqueNotes()
    link = HttpLink(server.url, document, reducer=reducer)
    remote = f"{server.store.url}#{document}"
    with Document(tmp_path / "document", remote, reducer, link=link, store=server.store) as python:
        python.mutate(b"append\0a\0, python")
        python.sync(wait_s=10)
        tab.settle(lambda notes: notes == {"a": "tab, python"})
        tab.mutate("append", "a", ", tab")
        tab.settle()
        python.sync()
        assert python.query("SELECT value FROM notes") == [("tab, python, tab",)]
