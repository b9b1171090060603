"""Uploading reducers, naming documents, and who may do what."""

import json

import pytest
from pydantic import ValidationError
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from graft_server.reducers import AnotherReducer, NoSuchReducer, ReducerReplaced, Reducers, parse_digest
from graft_server.settings import ServerSettings
from sqlsync.ids import base58, unbase58
from testbed.patience import PATIENCE_S
from tests.graft import support as graft_support
from tests.graft_server import support
from tests.graft_server.support import MODULE, NEWER_MODULE, UPLOAD_TOKEN, ask, digest_of, wait_for
from tests.graft_server.wire_client import WireClient


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
    assert "accepts no reducers" in message


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "not a WebAssembly module"),
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
        ("/doc/{document}?reducer=abc", 4400, "not a digest (32 bytes"),
        ("/doc/abc?reducer=" + digest_of(MODULE), 4400, "not a document id"),
        ("/doc/" + "1" * 300 + "?reducer=" + digest_of(MODULE), 4400, "not a document id"),
    ],
)
def test_a_connection_that_cannot_be_served_is_closed_with_a_reason(server, document, path, code, reason):
    url = f"ws://127.0.0.1:{server.port}{path.format(document=document)}"
    with connect(url) as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(timeout=PATIENCE_S)
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
                assert client.recv(timeout=PATIENCE_S)
            else:
                with pytest.raises(ConnectionClosed) as caught:
                    client.recv(timeout=PATIENCE_S)
                assert caught.value.rcvd.code == 4401


def test_a_server_that_is_full_says_try_again(tmp_path, document):
    with support.running(tmp_path, documents_max=1) as server:
        support.upload(server)
        other = ask(server, "GET", "/new")[1]
        one = WireClient(document).connect(server.websocket_url(document))
        with connect(server.websocket_url(other)) as client, pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=PATIENCE_S)
        one.disconnect()
    assert caught.value.rcvd.code == 1013


def test_a_document_with_too_many_clients_says_try_again(tmp_path, document):
    with support.running(tmp_path, connections_max=1) as server:
        support.upload(server)
        one = WireClient(document).connect(server.websocket_url(document))
        with connect(server.websocket_url(document)) as client, pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=PATIENCE_S)
        one.mutate("put", "a", "1")
        one.settle()
        one.disconnect()
    assert caught.value.rcvd.code == 1013


def test_a_newer_reducer_takes_over_and_the_older_one_is_told(server, document):
    old = WireClient(document).connect(server.websocket_url(document))
    old.mutate("put", "a", "1")
    old.settle()
    support.upload(server, NEWER_MODULE, replaces=MODULE)
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
    support.upload(server, replaces=NEWER_MODULE)  # back to the old one
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


@pytest.fixture
def reducers():
    return Reducers(graft_support.fresh_store(), support.OpaqueNotes)


THIRD_MODULE = b"\0asm notes 3"


def kept(reducers, module, replaces=None):
    return parse_digest(reducers.keep(module, replaces))


def test_a_document_stays_with_the_reducer_that_was_named_first(reducers):
    one, other = kept(reducers, MODULE), kept(reducers, NEWER_MODULE)
    assert reducers.choose("doc", one) == one
    for _ in range(3):  # however their times of modification compare
        with pytest.raises(AnotherReducer, match="was not uploaded to replace"):
            reducers.choose("doc", other)
        assert reducers.choose("doc", one) == reducers.choose("doc", None) == one
        reducers.keep(NEWER_MODULE)
    assert reducers.choose("another", other) == other


def test_a_document_moves_to_what_was_uploaded_to_replace_its_reducer_and_only_forward(reducers):
    first = kept(reducers, MODULE)
    reducers.choose("doc", first)
    second = kept(reducers, NEWER_MODULE, replaces=first)
    third = kept(reducers, THIRD_MODULE, replaces=second)
    assert reducers.choose("doc", first) == first  # until somebody names a newer one
    assert reducers.choose("doc", third) == third
    for old in (first, second):
        with pytest.raises(ReducerReplaced):
            reducers.choose("doc", old)
    assert reducers.choose("doc", None) == third


def test_going_back_is_a_replacement_too_and_clients_do_not_alternate(reducers):
    first = kept(reducers, MODULE)
    reducers.choose("doc", first)
    second = kept(reducers, NEWER_MODULE, replaces=first)
    reducers.choose("doc", second)
    assert kept(reducers, MODULE, replaces=second) == first
    assert reducers.choose("doc", first) == first
    with pytest.raises(ReducerReplaced):
        reducers.choose("doc", second)
    assert reducers.choose("doc", first) == first


def test_a_document_that_was_bound_before_replacements_were_known_is_bound_still(reducers):
    one, other = kept(reducers, MODULE), kept(reducers, NEWER_MODULE)
    reducers._store.put("documents/doc", json.dumps({"reducer": base58(one)}).encode())
    assert reducers.choose("doc", None) == one
    with pytest.raises(AnotherReducer):
        reducers.choose("doc", other)


def test_two_clients_that_come_first_bind_a_document_once(reducers, monkeypatch):
    one, other = kept(reducers, MODULE), kept(reducers, NEWER_MODULE)
    store, put = reducers._store, type(reducers._store).put_if_absent

    def after_another(self, key, data):
        monkeypatch.undo()
        assert reducers.choose("doc", other) == other
        return put(self, key, data)

    monkeypatch.setattr(type(store), "put_if_absent", after_another)
    with pytest.raises(AnotherReducer):
        reducers.choose("doc", one)
    assert reducers.choose("doc", None) == other


def test_a_request_cannot_take_a_document_over_unless_it_may_upload(server, document):
    support.upload(server, NEWER_MODULE)
    client = WireClient(document).connect(server.websocket_url(document))
    client.mutate("put", "a", "1")
    client.settle()
    other = f"reducer={digest_of(NEWER_MODULE)}"
    for path in (f"/doc/{document}/presence?{other}", f"/doc/{document}/presence?{other}&token=wrong"):
        status, name, _ = refused(ask(server, "GET", path))
        assert (status, name) == (403, "AnotherReducer")
    assert refused(ask(server, "PUT", f"/doc/{document}/reducer?{other}"))[0] == 401
    with connect(server.websocket_url(document, NEWER_MODULE)) as stranger, pytest.raises(ConnectionClosed) as caught:
        stranger.recv(timeout=PATIENCE_S)
    assert caught.value.rcvd.code == 4403
    client.mutate("put", "b", "2")
    client.settle()
    assert ask(server, "PUT", f"/doc/{document}/reducer?{other}", token=UPLOAD_TOKEN)[0] == 204
    with pytest.raises(ConnectionClosed):
        client.settle(lambda _: False)
    client.disconnect()
    with pytest.raises(ConnectionClosed) as caught:
        client.connect(server.websocket_url(document))
    assert caught.value.rcvd.code == 4426
    client.connect(server.websocket_url(document, NEWER_MODULE)).settle()
    client.disconnect()
    assert ask(server, "PUT", f"/doc/{document}/reducer", token=UPLOAD_TOKEN)[0] == 400
    unknown = digest_of(b"nothing")
    assert ask(server, "PUT", f"/doc/{document}/reducer?reducer={unknown}", token=UPLOAD_TOKEN)[0] == 404


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u00a0", " secret"])
@pytest.mark.parametrize("name", ["upload_token", "document_token", "document_tokens"])
def test_settings_with_an_empty_token_are_refused(tmp_path, name, blank):
    given = {"ann": blank} if name == "document_tokens" else blank
    with pytest.raises(ValidationError, match="a token") as caught:
        ServerSettings(remote="x", directory=tmp_path, **{name: given})
    assert "secret" not in str(caught.value)


def test_each_principal_has_a_token_of_its_own(tmp_path, document):
    with pytest.raises(ValidationError, match="the same token"):
        ServerSettings(remote="x", directory=tmp_path, document_tokens={"ann": "1", "bob": "1"})
    with support.running(tmp_path, document_tokens={"ann": "1", "bob": "2"}) as server:
        assert [ask(server, "GET", "/new", token=token)[0] for token in (None, "3", "1", "2")] == [401, 401, 200, 200]
