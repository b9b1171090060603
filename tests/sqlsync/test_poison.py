"""Mutations and states that are made to do harm: one is refused or rejected, everybody else goes on."""

import json
import logging
import math
import threading

import apsw
import pytest

from sqlsync.envelope import Mutation, Named, encode
from sqlsync.errors import BadMutation, CorruptTimeline, MutationRejected, ReducerFailed
from sqlsync.ids import TimelineId
from sqlsync.links.mutation_batch import read_batch, write_batches
from sqlsync.links.presence import PresenceHub
from testbed.patience import PATIENCE_S
from tests.graft.support import fast_directory
from tests.graft_server.support import wait_for
from tests.sqlsync.support import Notes, Stage, notes

MIB = 1024 * 1024


class Unreadable(Exception):
    def __str__(self):
        raise ValueError("no text")


class Poisonous(Notes):
    """Notes, and mutations that break in every way that Python knows."""

    def _raise(self, context, kind):
        raise {
            "memory": MemoryError, "exit": SystemExit, "interrupt": KeyboardInterrupt, "recursion": RecursionError,
            "generator": GeneratorExit, "unreadable": Unreadable, "busy": apsw.BusyError, "assertion": AssertionError,
        }[kind]  # fmt: skip

    def _swell(self, context, mib):
        context.query("SELECT length(hex(zeroblob(?)))", (mib * MIB,))


@pytest.fixture
def stage():
    with fast_directory() as directory:
        stage = Stage(directory, reducer=Poisonous)
        yield stage
        stage.close()


@pytest.fixture
def small_sqlite():
    """SQLite gets little memory, as on a machine that has no more."""
    before = apsw.hard_heap_limit(apsw.memory_used() + 24 * MIB)
    yield
    apsw.hard_heap_limit(before)


def mutation(timeline, lsn, name, **arguments):
    return Mutation.captured(timeline, lsn, Named(name, arguments))


def healthy(coordinator):
    health = coordinator.health()
    return health.applying and health.trouble is None and health.waiting == 0


@pytest.mark.parametrize(
    "kind", ["memory", "exit", "interrupt", "recursion", "generator", "unreadable", "busy", "assertion"]
)
def test_whatever_a_reducer_raises_rejects_its_mutation_alone(stage, kind):
    coordinator = stage.coordinator()
    bad, good = TimelineId.new(), TimelineId.new()
    coordinator.submit(bad, [mutation(bad, 0, "raise", kind=kind)])
    coordinator.submit(good, [mutation(good, 0, "put", key="a", value="1")])
    coordinator.start()
    wait_for(lambda: healthy(coordinator))
    assert coordinator.query("SELECT key, value FROM notes") == [("a", "1")]
    coordinator.close()
    again = stage.coordinator()
    again.start()
    again.mutate("put", key="b", value="2")
    wait_for(lambda: healthy(again))


@pytest.mark.parametrize("kind", ["memory", "exit", "generator"])
def test_a_client_is_told_and_goes_on(stage, kind):
    ann = stage.client("ann")
    with pytest.raises(ReducerFailed):
        ann.mutate("raise", kind=kind)
    assert ann.pending() == []
    ann.mutate("put", key="a", value="1")
    ann.sync()
    assert notes(ann) == {"a": "1"}


@pytest.mark.usefixtures("small_sqlite")
def test_a_mutation_that_breaks_its_batch_is_isolated_and_told(stage, caplog):
    coordinator = stage.coordinator()
    timelines = [TimelineId.new() for _ in range(5)]
    for place, timeline in enumerate(timelines):
        made = mutation(timeline, 0, "put", key=f"k{place}", value="x")
        coordinator.submit(timeline, [mutation(timeline, 0, "swell", mib=60) if place == 2 else made])
    with caplog.at_level(logging.ERROR):
        while coordinator.step():
            pass
    assert coordinator.query("SELECT key FROM notes ORDER BY key") == [("k0",), ("k1",), ("k3",), ("k4",)]
    assert (coordinator.health().isolated, coordinator.health().waiting) == (1, 0)
    assert str(timelines[2]) in caplog.text
    coordinator.close()
    again = stage.coordinator()
    assert [again.wait(timeline, 0, timeout_s=0).applied for timeline in timelines] == [0] * 5


@pytest.mark.usefixtures("small_sqlite")
def test_the_coordinators_own_caller_is_told_of_the_isolation(stage):
    with pytest.raises(MutationRejected, match="could not be applied"):
        stage.coordinator().mutate("swell", mib=60)


def test_the_applying_thread_outlives_any_error_and_tells_it(stage, monkeypatch, caplog):
    coordinator = stage.coordinator()
    failing, timeline = threading.Event(), TimelineId.new()
    failing.set()
    step = type(coordinator).step

    def sometimes(self):
        if failing.is_set():
            raise SystemError("out of the blue")
        return step(self)

    monkeypatch.setattr("sqlsync.coordination.apply_thread._RETRY_S", 0.01)
    monkeypatch.setattr(type(coordinator), "step", sometimes)
    coordinator.start()
    with caplog.at_level(logging.ERROR):
        coordinator.submit(timeline, [mutation(timeline, 0, "put", key="a", value="1")])
        wait_for(lambda: coordinator.health().trouble is not None)
    assert coordinator.health().trouble == "SystemError: out of the blue"
    assert "out of the blue" in caplog.text
    failing.clear()
    wait_for(lambda: healthy(coordinator))
    assert coordinator.query("SELECT key FROM notes") == [("a",)]


@pytest.mark.parametrize("seen", [-(10**20), -1, 99, 2**63, 10**20])
def test_no_number_of_rejections_seen_stops_the_coordinator(stage, seen):
    coordinator = stage.coordinator()
    timeline = TimelineId.new()
    coordinator.submit(timeline, [mutation(timeline, 0, "put", key="a", value="1")], rejections_seen=seen)
    assert coordinator.step() == 1
    coordinator.submit(timeline, [mutation(timeline, 1, "put", key="b", value="1")], rejections_seen=seen)
    assert coordinator.step() == 1


def sealed(body, **changes):
    """The stored form of a mutation that nobody could have captured: the checksum is right, the sense is not."""
    from dataclasses import replace

    made = replace(mutation(TimelineId(bytes(16)), 0, "put"), **changes)
    plain = encode(made)
    at = plain.index(b"{}")
    import xxhash

    content = plain[: at - 4] + len(body).to_bytes(4, "little") + body
    whole = content + xxhash.xxh3_64_intdigest(content).to_bytes(8, "little")
    return len(whole).to_bytes(4, "little") + whole


@pytest.mark.parametrize(
    "body",
    [
        b'{"key":NaN}', b'{"key":Infinity}', b'{"key":[1e999]}', b'{"key":"\\ud800"}', b"[1]", b"null", b'"x"',
        b'{"a":' + b"[" * 150 + b"]" * 150 + b"}", b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}", b"{",
    ],
)  # fmt: skip
def test_arguments_that_not_everybody_can_read_are_refused_at_the_border(body):
    with pytest.raises((BadMutation, CorruptTimeline)):
        read_batch(sealed(body))


@pytest.mark.parametrize("now_us", [-(2**63), 2**63 - 1, -62_135_596_800_000_001, 253_402_300_800_000_000])
def test_times_that_no_calendar_has_are_refused_at_the_border(now_us):
    with pytest.raises(BadMutation, match="not a time in the years"):
        read_batch(sealed(b"{}", now_us=now_us))


def test_what_can_be_captured_passes_the_border():
    timeline, nested = TimelineId.new(), "x"
    for _ in range(98):
        nested = [nested]
    made = [mutation(timeline, 0, "put", a=nested), mutation(timeline, 1, "put", b=10**300, c=-0.5, d="\0é")]
    assert [found for batch in write_batches(made) for found in read_batch(batch)] == made
    for arguments in ({"a": math.nan}, {"a": [[nested, 1]]}, {"a": "\ud800"}):
        with pytest.raises(BadMutation):
            mutation(timeline, 0, "put", **arguments)


@pytest.mark.parametrize("value", [math.nan, math.inf, [{"x": -math.inf}], "\ud800"])
def test_presence_that_not_everybody_can_read_is_refused(value):
    hub = PresenceHub()
    hub.set("good", {"x": 1})
    with pytest.raises(ValueError, match=r"JSON|surrogates"):
        hub.set("bad", {"x": value})
    json.dumps(hub.states(), allow_nan=False).encode()
    assert set(hub.states()) == {"good"}


def test_a_listener_that_fails_keeps_nobody_else_from_hearing():
    hub, heard = PresenceHub(), []

    def broken(states):
        if states:
            raise RuntimeError("the window was closed")

    hub.subscribe(broken)
    hub.subscribe(heard.append)
    hub.set("ann", {"x": 1})
    assert heard[-1] == {"ann": {"x": 1}}


def test_a_document_goes_on_by_itself_whatever_its_call_backs_raise(stage):
    coordinator = stage.coordinator()
    failures = []

    def refused(_):
        raise RuntimeError("the window was closed")

    def on_error(error):
        failures.append(error)
        raise KeyError("so was that")

    ann, bob = stage.client("ann", coordinator, on_rejected=refused), stage.client("bob", coordinator)
    ann.mutate("take", key="seat", value="ann")
    bob.mutate("take", key="seat", value="bob")
    bob.sync()
    coordinator.start()
    wait_for(lambda: coordinator.health().waiting == 0)
    ann.start(poll_s=0.01, on_error=on_error)
    wait_for(lambda: failures)
    assert ann.mutate("put", key="a", value="1").wait(PATIENCE_S).state == "confirmed"
    assert str(failures[0]) == "the window was closed"
