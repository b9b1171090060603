"""Uploading reducers, naming documents, and who may do what."""

import json

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from graft_server.reducers import NoSuchReducer, ReducerReplaced, Reducers, parse_digest
from sqlsync.ids import base58, unbase58
from tests.graft import support as graft_support
from tests.server import support
from tests.server.support import MODULE, NEWER_MODULE, UPLOAD_TOKEN, ask, digest_of, wait_for
from tests.server.wire_client import WireClient


def refused(answer):
    status, text = answer
    return status, json.loads(text)["error"], json.loads(text)["message"]


def test_an_upload_answers_with_the_digest(server):
    assert ask(server, "PUT", "/reducer", token=UPLOAD_TOKEN, body=MODULE) == (200, f"{digest_of(MODULE)}.wasm")


@pytest.mark.parametrize("token", [None, "wrong"])
def test_an_upload_needs_the_token(server, token):
    status, name, _ = refused(ask(server, "PUT", "/reducer", token=token, body=MODULE))
    assert (status, name) == (401, "NotPermitted")


def test_without_a_token_in_the_settings_nobody_may_upload(tmp_path):
    with support.running(tmp_path, upload_token=None) as server:
        status, _, message = refused(ask(server, "PUT", "/reducer", token="", body=MODULE))
    assert status == 401
    assert "takes no reducers" in message


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "no WebAssembly module"),
        (b"\0asm something else", 400, "it has no exports"),
        (b"\0asm notes" + bytes(10 * 1024 * 1024), 413, "more than"),
    ],
)
def test_what_is_no_reducer_is_refused_with_a_reason(server, body, status, message):
    found, _, text = refused(ask(server, "PUT", "/reducer", token=UPLOAD_TOKEN, body=body))
    assert found == status
    assert message in text


def test_new_names_documents(server):
    (status, one), (_, other) = ask(server, "GET", "/new"), ask(server, "POST", "/new")
    assert status == 200
    assert one != other
    assert len(unbase58(one)) == 16
    named = [ask(server, "GET", f"/new/{name}")[1] for name in ("a", "a", "b", "a%2Fb")]
    assert named[0] == named[1]
    assert len(set(named)) == 3
    assert len(unbase58(named[0])) == 16


def test_other_methods_and_paths_are_refused(server):
    assert ask(server, "POST", "/reducer")[0] == 405
    assert ask(server, "GET", "/documents")[0] == 404


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("/doc/{document}?reducer=" + digest_of(NEWER_MODULE), 4404, "upload it first"),
        ("/doc/{document}", 4404, "has no reducer yet"),
        ("/doc/{document}?reducer=0", 4400, "not base58"),
        ("/doc/{document}?reducer=abc", 4400, "a digest has 32 bytes"),
        ("/doc/abc?reducer=" + digest_of(MODULE), 4400, "no document id"),
        ("/doc/" + "1" * 300 + "?reducer=" + digest_of(MODULE), 4400, "no document id"),
    ],
)
def test_a_connection_that_cannot_be_served_is_closed_with_a_reason(server, document, path, code, reason):
    url = f"ws://127.0.0.1:{server.port}{path.format(document=document)}"
    with connect(url) as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=10)
    assert caught.value.rcvd.code == code
    assert reason in caught.value.rcvd.reason


def test_documents_may_need_a_token(tmp_path, document):
    with support.running(tmp_path, document_token="secret") as server:
        support.upload(server)
        assert refused(ask(server, "GET", "/new"))[0] == 401
        assert ask(server, "GET", "/new", token="secret")[0] == 200
        assert refused(ask(server, "GET", f"/doc/{document}/presence"))[0] == 401
        with pytest.raises(ConnectionClosed) as caught:
            WireClient(document).connect(server.websocket_url(document))
        assert caught.value.rcvd.code == 4401
        client = WireClient(document).connect(server.websocket_url(document) + "&token=secret")
        client.mutate("put", "a", "1")
        client.settle()
        client.disconnect()


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://app.example", True), ("https://evil.example", False), ("http://127.0.0.1:{port}", True), (None, True)],
)
def test_pages_of_other_origins_may_not_connect(tmp_path, document, origin, allowed):
    with support.running(tmp_path, origins=("https://app.example",)) as server:
        support.upload(server)
        origin = origin and origin.format(port=server.port)
        with connect(server.websocket_url(document), origin=origin) as client:
            if allowed:
                assert client.recv(timeout=10)
            else:
                with pytest.raises(ConnectionClosed) as caught:
                    client.recv(timeout=10)
                assert caught.value.rcvd.code == 4401


def test_a_server_that_is_full_says_try_again(tmp_path, document):
    with support.running(tmp_path, documents_max=1) as server:
        support.upload(server)
        other = ask(server, "GET", "/new")[1]
        one = WireClient(document).connect(server.websocket_url(document))
        with connect(server.websocket_url(other)) as client, pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=10)
        one.disconnect()
    assert caught.value.rcvd.code == 1013


def test_a_document_with_too_many_clients_says_try_again(tmp_path, document):
    with support.running(tmp_path, connections_max=1) as server:
        support.upload(server)
        one = WireClient(document).connect(server.websocket_url(document))
        with connect(server.websocket_url(document)) as client, pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=10)
        one.mutate("put", "a", "1")
        one.settle()
        one.disconnect()
    assert caught.value.rcvd.code == 1013


def test_a_newer_reducer_takes_over_and_the_older_one_is_told(server, document):
    old = WireClient(document).connect(server.websocket_url(document))
    old.mutate("put", "a", "1")
    old.settle()
    support.upload(server, NEWER_MODULE)
    new = WireClient(document).connect(server.websocket_url(document, NEWER_MODULE))
    new.settle(lambda notes: notes == {"a": "1"})
    with pytest.raises(ConnectionClosed) as caught:
        old.receive()
    assert caught.value.rcvd.code == 1012
    old.disconnect()
    with pytest.raises(ConnectionClosed) as caught:
        old.connect(server.websocket_url(document))
    assert caught.value.rcvd.code == 4426
    old.disconnect()
    support.upload(server)  # back to the old one
    old.connect(server.websocket_url(document))
    old.mutate("put", "b", "2")
    old.settle()
    with pytest.raises(ConnectionClosed):
        new.settle(lambda notes: False)
    for client in (old, new):
        client.disconnect()


def test_documents_that_nobody_uses_are_closed(tmp_path, document):
    with support.running(tmp_path, idle_s=0.0) as server:
        support.upload(server)
        client = WireClient(document).connect(server.websocket_url(document))
        client.mutate("put", "a", "1")
        client.settle()
        served = server.served[document]
        client.disconnect()
        wait_for(lambda: document not in server.served)
        client.connect(server.websocket_url(document))
        client.mutate("put", "b", "2")
        client.settle()
        assert client.notes() == {"a": "1", "b": "2"}
        assert server.served[document] is not served
        client.disconnect()


def test_a_damaged_module_is_not_run():
    store = graft_support.fresh_store()
    reducers = Reducers(store, support.OpaqueNotes)
    digest = parse_digest(reducers.keep(MODULE))
    assert reducers.load(digest).digest == digest
    store.put(f"reducers/{base58(digest)}.wasm", MODULE + b"!")
    with pytest.raises(NoSuchReducer, match="damaged"):
        reducers.load(digest)


def test_the_module_that_was_uploaded_last_wins(monkeypatch):
    store = graft_support.fresh_store()
    reducers = Reducers(store, support.OpaqueNotes)
    old, new = (parse_digest(reducers.keep(module)) for module in (MODULE, NEWER_MODULE))
    uploaded = {old: 1.0, new: 2.0}
    monkeypatch.setattr(Reducers, "_uploaded_s", lambda _, digest: uploaded.get(digest))
    assert reducers.choose("doc", old) == old
    assert reducers.choose("doc", None) == old
    assert reducers.choose("doc", new) == new
    with pytest.raises(ReducerReplaced):
        reducers.choose("doc", old)
    uploaded[old] = 3.0
    assert reducers.choose("doc", old) == old
