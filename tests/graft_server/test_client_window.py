"""When a silent client of SQLSync has to connect again."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft_server.broadcast import Broadcast
from graft_server.client_window import ClientWindow
from graft_server.connection import Connection
from graft_server.error_replies import Stalled
from graft_server.wire import WINDOW_FRAMES_MAX, Empty, Frame, Range, RangeRequest, Span, decode, encode
from pagestore.runtime import SYSTEM
from sqlsync.links.link import Acknowledged
from testbed.patience import PATIENCE_S

TIMELINE, DOCUMENT = b"t" * 16, b"d" * 16


def patience(window):
    return window.patience_s(stalled_s=1.0, gap_s=10.0)


class Client:
    """The published client: it stops when its window is full, and only another mutation makes it try again."""

    def __init__(self, window, pending):
        self.window, self.pending = window, pending
        self.sent = self.known = self.taken = 0
        self.stopped = False
        self.on_line, self.answers = [], []
        self.storage_lsn = 0
        window.meet(0, pending)
        self.send()

    def send(self):
        while self.sent < self.pending and self.sent - self.known < WINDOW_FRAMES_MAX:
            self.on_line.append(("frame", self.sent))
            self.sent += 1
        self.stopped = self.sent < self.pending

    def mutate(self):
        self.pending += 1
        self.send()

    def arrive(self):
        """One message of the client's reaches the server."""
        if self.on_line:
            kind, value = self.on_line.pop(0)
            if kind == "frame":
                self.window.receive(value)
                self.taken = value + 1
            else:
                self.window.storage_acknowledged(value)

    def acknowledge(self):
        self.window.acknowledge(self.taken)
        self.answers.append(("range", self.taken))

    def store(self):
        self.window.send_storage(self.storage_lsn)
        self.answers.append(("frame", self.storage_lsn))
        self.storage_lsn += 1

    def hear(self):
        """One message of the server's reaches the client."""
        if self.answers:
            kind, value = self.answers.pop(0)
            if kind == "range":
                self.known = max(self.known, value)
            else:
                self.on_line.append(("stored", value))


@given(
    st.integers(0, 300),
    st.lists(st.sampled_from(["mutate", "arrive", "arrive", "acknowledge", "store", "hear"]), max_size=600),
)
def test_a_client_that_stopped_is_always_noticed(pending, steps):
    client = Client(ClientWindow(), pending)
    for step in steps:
        getattr(client, step)()
    while client.on_line:
        client.arrive()
    client.acknowledge()
    if client.stopped:
        assert patience(client.window) is not None


def test_a_client_that_keeps_below_its_window_owes_nothing():
    client = Client(ClientWindow(), 0)
    for _ in range(1000):
        for step in ("mutate", "arrive", "acknowledge", "store", "hear", "hear", "arrive"):
            getattr(client, step)()
    assert patience(client.window) is None


def test_a_client_that_announced_more_is_given_time_and_with_a_full_window_none():
    window = ClientWindow()
    window.meet(0, 250)
    assert patience(window) is None  # its first frame may take as long as it likes
    for lsn in range(60):
        window.receive(lsn)
    window.acknowledge(60)
    assert patience(window) == 10.0
    for lsn in range(60, 100):
        window.receive(lsn)
    window.acknowledge(100)
    assert patience(window) == 0.0
    window.meet(100, 100)
    assert patience(window) is None


class FakeServed:
    """A document that takes every frame."""

    def __init__(self):
        self.moved, self.closing, self.runtime, self.next_lsn = Broadcast(), "", SYSTEM, 0

    async def position(self, timeline):
        return Acknowledged(self.next_lsn, None, 0)

    async def catch_up(self):
        pass

    async def submit(self, timeline, mutations, **_):
        self.next_lsn = mutations[-1].lsn + 1
        return Acknowledged(self.next_lsn, None, 0)


class FakeStorage:
    base = head = 1000


class FakeSocket:
    def __init__(self):
        self.to_server, self.sent = asyncio.Queue(), asyncio.Queue()

    async def receive(self):
        return await self.to_server.get()

    async def send(self, data):
        self.sent.put_nowait(decode(data))

    def say(self, *messages):
        for message in messages:
            self.to_server.put_nowait(encode(message))

    async def hear(self, message):
        async with asyncio.timeout(PATIENCE_S):
            while await self.sent.get() != message:
                pass


class Silence:
    """The clock of a connection: time passes when the test says so."""

    def __init__(self):
        self.patience_s = asyncio.Queue()
        self._passed = asyncio.Event()

    async def wait(self, event, timeout_s):
        self.patience_s.put_nowait(timeout_s)
        waits = [asyncio.ensure_future(event.wait())]
        if timeout_s is not None:
            waits.append(asyncio.ensure_future(self._passed.wait() if timeout_s else asyncio.sleep(0)))
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        return event.is_set()

    def pass_(self):
        self._passed.set()


def frames(first, end):
    return [Frame(TIMELINE, lsn, b"put") for lsn in range(first, end)]


async def connected(announced):
    served, socket, silence = FakeServed(), FakeSocket(), Silence()
    connection = Connection(socket, served, FakeStorage(), DOCUMENT, wait=silence.wait)
    running = asyncio.create_task(connection.run())
    socket.say(RangeRequest(TIMELINE, Span(0, announced - 1) if announced else Empty(0)))
    await socket.hear(Range(Empty(0)))
    return served, socket, silence, running


def test_a_pause_on_the_line_is_no_end_and_a_full_window_is():
    """250 frames offline; the line pauses after 60 of the 100 that the window lets through."""

    async def run():
        served, socket, _, running = await connected(250)
        socket.say(*frames(0, 60))
        await socket.hear(Range(Span(0, 59)))
        assert not running.done()
        socket.say(*frames(60, 100))
        with pytest.raises(Stalled):
            await asyncio.wait_for(running, PATIENCE_S)
        assert served.next_lsn == 100

    asyncio.run(run())


@pytest.mark.parametrize("parts", [(100,), (60, 40), (1, 99)])
def test_a_window_that_filled_in_several_bursts_is_remembered(parts):
    """The client announced nothing: its application called all this after it had connected."""

    async def run():
        _, socket, silence, running = await connected(0)
        at = 0
        for part in parts:
            socket.say(*frames(at, at + part))
            at += part
            await socket.hear(Range(Span(0, at - 1)))
        silence.pass_()
        with pytest.raises(Stalled):
            await asyncio.wait_for(running, PATIENCE_S)

    asyncio.run(run())


def test_a_gap_that_stays_open_is_asked_for_again():
    async def run():
        _, socket, silence, running = await connected(250)
        socket.say(*frames(0, 60))
        await socket.hear(Range(Span(0, 59)))
        silence.pass_()
        with pytest.raises(Stalled):
            await asyncio.wait_for(running, PATIENCE_S)

    asyncio.run(run())


def test_a_client_that_sent_all_may_be_silent():
    async def run():
        _, socket, silence, running = await connected(60)
        socket.say(*frames(0, 60))
        await socket.hear(Range(Span(0, 59)))
        async with asyncio.timeout(PATIENCE_S):
            assert [await silence.patience_s.get(), await silence.patience_s.get()] == [None, None]
        socket.to_server.put_nowait(None)
        await asyncio.wait_for(running, PATIENCE_S)

    asyncio.run(run())
