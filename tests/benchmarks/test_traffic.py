"""That the latency proxy delays, forwards and writes down what passes, and what its notes add up to."""

import http.client
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from testbed.latency import ProxyControl, latency_proxy
from testbed.shared_server import HOST
from testbed.traffic import SeenRequest, Traffic, round_trips, summed


def seen(begun_s, ended_s, up=0, down=0):
    return SeenRequest("GET", "/", 200, begun_s, ended_s, up, down)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], 0),
        ([(0, 1)], 1),
        ([(0, 1), (0, 1), (0, 2)], 1),
        ([(0, 1), (1, 2), (2, 3)], 3),
        ([(0, 10), (1, 2), (3, 4)], 2),
        ([(3, 4), (0, 2), (1, 3), (2, 5)], 2),
    ],
)
def test_round_trips(spans, expected):
    assert round_trips(seen(*span) for span in spans) == expected


def test_sum():
    assert summed([seen(0, 1, up=5), seen(2, 3, down=7)]) == Traffic(2, 2, 5, 7)


class Echo(BaseHTTPRequestHandler):
    """Answers with the Host that it saw and the body that came; GET answers in chunks."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._reply(self.headers["Host"].encode() + b" " + body)

    def do_GET(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"5\r\nabcde\r\n3\r\nfgh\r\n0\r\n\r\n")

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "12345")
        self.end_headers()

    def _reply(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def proxy():
    with ThreadingHTTPServer((HOST, 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with latency_proxy(f"http://{HOST}:{server.server_address[1]}") as address:
            yield address
        server.shutdown()
        thread.join()


def test_everything_passes_as_it_came_over_one_connection(proxy):
    with (
        closing(ProxyControl(proxy.control_port)) as control,
        closing(http.client.HTTPConnection(HOST, proxy.port)) as client,
    ):
        control.begin(0)
        for body in (b"x" * 1_000_000, b"", b"y"):
            client.request("PUT", "/key?a=b", body=body, headers={"Expect": "nothing"})
            assert client.getresponse().read() == f"{HOST}:{proxy.port} ".encode() + body
        client.request("GET", "/chunks")
        assert client.getresponse().read() == b"abcdefgh"
        client.request("HEAD", "/head")
        reply = client.getresponse()
        assert reply.headers["Content-Length"] == "12345"
        assert reply.read() == b""
        requests = control.end()
    assert [(request.method, request.target) for request in requests] == [
        ("PUT", "/key?a=b"), ("PUT", "/key?a=b"), ("PUT", "/key?a=b"), ("GET", "/chunks"), ("HEAD", "/head"),
    ]  # fmt: skip
    assert [request.bytes_up for request in requests] == [1_000_000, 0, 1, 0, 0]
    assert round_trips(requests) == 5


def test_requests_wait_side_by_side(proxy):
    barrier = threading.Barrier(4)

    def get():
        with closing(http.client.HTTPConnection(HOST, proxy.port)) as client:
            barrier.wait()
            client.request("GET", "/")
            client.getresponse().read()

    with closing(ProxyControl(proxy.control_port)) as control:
        control.begin(200)
        start = time.monotonic()
        threads = [threading.Thread(target=get) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - start
        requests = control.end()
    assert elapsed >= 0.2  # never sooner; how much later is the machine's business
    assert (len(requests), round_trips(requests)) == (4, 1)
