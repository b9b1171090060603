"""Endpoints that are wrong: the other protocol, silence, nobody there. The cause is named, and soon."""

import http.server
import socket
import ssl
import threading
from contextlib import closing, contextmanager, suppress

import pytest

from pagestore.errors import PageStoreError, StoreRefused, StoreUnavailable
from pagestore.s3.endpoint_check import wrong_scheme
from pagestore.s3.settings import S3Settings
from pagestore.stores.probe import require_conditional_writes
from pagestore.urls import open_store
from testbed.faulty_proxy import Held, Page
from testbed.patience import PATIENCE_S
from testbed.shared_server import HOST
from tests.pagestore.s3.certificate import CERTIFICATE

SHORT = S3Settings(first_answer_s=0.3, connect_timeout_s=0.3, backoff_base_s=0, hedge_budget=0)


@pytest.fixture(params=["boto3", "obstore"])
def client(request):
    return request.param


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Who answers does so, however busy the machine is."""
    monkeypatch.setattr("pagestore.s3.endpoint_check._PATIENCE_S", 60)


@contextmanager
def listening(answer):
    """A server that does ``answer`` with each connection, in a thread of its own."""
    listener = socket.create_server((HOST, 0))
    held = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            try:
                answer(connection)
            except OSError:
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"{HOST}:{listener.getsockname()[1]}", held
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in held:
            connection.close()


def tls(tmp_path, then):
    """Answer with a handshake and ``then``."""
    (tmp_path / "certificate.pem").write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem")

    def answer(connection):
        first = connection.recv(1, socket.MSG_PEEK)
        if first == b"\x16":
            context.wrap_socket(connection, server_side=True).close()
        else:
            then(connection)

    return answer


def hang_up(connection):
    connection.close()


def complain_as_go_does(connection):
    connection.recv(65536)
    text = b"Client sent an HTTP request to an HTTPS server.\n"
    head = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % len(text) + text)
    connection.close()


def alert(connection):
    connection.recv(65536)
    connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")
    connection.close()


@pytest.mark.parametrize("then", [hang_up, complain_as_go_does, alert])
def test_http_to_a_port_that_speaks_tls(tmp_path, client, then):
    with listening(tls(tmp_path, then)) as (address, _):
        store = open_store(f"s3://bucket/p?endpoint=http://{address}&client={client}")
        with closing(store), pytest.raises(StoreRefused, match=r"speaks TLS on port \d+.*https:// instead of http://"):
            store.get("k")


class Plain(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_):
        """Nobody reads it."""


@pytest.mark.parametrize("size", [1, 400_000])
def test_https_to_a_port_that_speaks_http(client, size):
    server = http.server.ThreadingHTTPServer((HOST, 0), Plain)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"s3://bucket/p?endpoint=https://{HOST}:{server.server_port}&client={client}"
        refused = pytest.raises(StoreRefused, match=r"speaks plain HTTP on port \d+.*http:// instead of https://")
        with closing(open_store(url, s3_settings=SHORT)) as store, refused:
            store.put_if_absent("k", b"x" * size)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("size", [1, 4_000_000])
def test_a_silent_endpoint_is_told_after_its_time(client, scheme, size, monkeypatch):
    monkeypatch.setattr("pagestore.s3.endpoint_check._PATIENCE_S", 0.1)
    with listening(lambda connection: None) as (address, held):
        store = open_store(f"s3://bucket/p?endpoint={scheme}://{address}&client={client}", s3_settings=SHORT)
        with closing(store):
            with pytest.raises(StoreUnavailable, match=r"bucket bucket at .*it has never answered.*host and port"):
                store.put_if_absent("k", b"x" * size)
            tried = len(held)
            assert tried <= 5, "a try or two, and what finds out why"
            with pytest.raises(StoreUnavailable, match="never answered"):
                store.get("k")
            with pytest.raises(StoreUnavailable, match="never answered"):
                require_conditional_writes(store)
            assert len(held) == tried, "it is not asked again at once"


def test_defaults_end_soon():
    settings = S3Settings()
    assert settings.first_silence_s <= 10
    assert settings.first_silence_s < settings.read_timeout_s


def test_who_has_answered_once_is_waited_for(faulty_s3, client):
    """After the first silence has ended a try, the next try may take longer than that, and gets its answer."""
    go_on = threading.Event()
    with closing(open_store(faulty_s3.url)) as other:
        other.put("k", b"body")
    settings = S3Settings(first_answer_s=1, read_timeout_s=PATIENCE_S, backoff_base_s=0, hedge_budget=0)
    with closing(open_store(f"{faulty_s3.url}&client={client}", s3_settings=settings)) as store:
        while not has_answered(store):
            pass
        faulty_s3.faults += [Held(go_on), Held(go_on)]
        found = []
        reader = threading.Thread(target=lambda: found.append(store.get("k")))
        reader.start()
        try:
            seen = threading.Event()
            while len(faulty_s3.held) < 2:  # the first was given up, the second is being waited for
                seen.wait(0.01)
        finally:
            go_on.set()
            reader.join()
        assert found == [b"body"]


def has_answered(store):
    """Whether the server was in time for this client; on a busy machine it is asked again."""
    with suppress(StoreUnavailable):
        return store.get("k") == b"body"


def test_a_page_of_400_by_a_plain_server_is_told_as_it_is(faulty_s3, client):
    faulty_s3.always = Page(400, b"no such tenant")
    with closing(open_store(f"{faulty_s3.url}&client={client}")) as store, pytest.raises(PageStoreError) as caught:
        store.get("k")
    assert "no such tenant" in str(caught.value)


def test_nobody_there():
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
    for scheme in ("http", "https"):
        assert wrong_scheme(f"{scheme}://{HOST}:{port}") is None
