"""Presence: who is here and what they say, until they leave or fall silent."""

import threading

import pytest

from pagestore.runtime import Runtime
from sqlsync.errors import CoordinatorBusy, CoordinatorRefused
from sqlsync.links import presence
from sqlsync.links.presence import OwnPresence, PresenceHub
from testbed.patience import PATIENCE_S


class Clock:
    now_s = 0.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hub(clock):
    return PresenceHub(Runtime(monotonic_s=lambda: clock.now_s))


def test_a_listener_hears_the_present_and_each_change(hub):
    heard = []
    hub.set("ann", {"cursor": 1})
    stop = hub.subscribe(heard.append)
    hub.set("bob", {"cursor": 2})
    hub.set("ann", {"cursor": 3})
    hub.leave("bob")
    stop()
    hub.set("ann", {"cursor": 4})
    assert heard == [
        {"ann": {"cursor": 1}},
        {"ann": {"cursor": 1}, "bob": {"cursor": 2}},
        {"ann": {"cursor": 3}, "bob": {"cursor": 2}},
        {"ann": {"cursor": 3}},
    ]


def test_saying_the_same_again_is_no_news_and_lives_on(hub, clock):
    heard = []
    hub.set("ann", {"typing": True}, ttl_s=10)
    hub.subscribe(heard.append)
    clock.now_s = 8
    hub.set("ann", {"typing": True}, ttl_s=10)
    clock.now_s = 17
    assert hub.states() == {"ann": {"typing": True}}
    assert len(heard) == 1


def test_who_falls_silent_is_gone_and_the_others_are_told(hub, clock):
    heard = []
    hub.set("ann", {}, ttl_s=10)
    hub.set("bob", {}, ttl_s=30)
    hub.subscribe(heard.append)
    assert hub.expire() == 10
    clock.now_s = 10
    assert hub.expire() == 20
    assert heard[1:] == [{"bob": {}}]
    assert hub.states() == {"bob": {}}
    hub.leave("bob")
    assert hub.expire() is None


def test_a_document_has_room_for_so_many_clients(hub, clock, monkeypatch):
    monkeypatch.setattr(presence, "CLIENTS_MAX", 3)
    for name in ("ann", "bob", "eve"):
        hub.set(name, {"cursor": 1}, ttl_s=3600)
    clock.now_s = 20
    hub.set("ann", {"cursor": 2}, ttl_s=3600)
    with pytest.raises(CoordinatorBusy, match="3 clients") as caught:
        hub.set("new", {"cursor": 1})
    assert caught.value.retry_after_s > 0
    clock.now_s = 30  # bob and eve have been silent for as long as clients may be
    hub.set("new", {"cursor": 1})
    assert set(hub.states()) == {"ann", "eve", "new"}
    hub.set("eve", {"cursor": 3})
    with pytest.raises(CoordinatorBusy):
        hub.set("bob", {"cursor": 1})


def test_a_document_has_room_for_so_many_bytes(hub, monkeypatch):
    monkeypatch.setattr(presence, "STATES_BYTES_MAX", 1000)
    hub.set("ann", {"text": "x" * 600})
    with pytest.raises(CoordinatorBusy, match="1000 bytes"):
        hub.set("bob", {"text": "x" * 600})
    with pytest.raises(CoordinatorBusy):
        hub.set("ann", {"text": "x" * 1600})
    assert hub.states() == {"ann": {"text": "x" * 600}}
    hub.leave("ann")
    hub.set("bob", {"text": "x" * 600})


def test_documents_say_who_they_are_and_are_missed_when_they_close(stage):
    coordinator = stage.coordinator()
    ann, bob = stage.client("ann", coordinator), stage.client("bob", coordinator)
    heard = []
    bob.presence.subscribe(heard.append)
    ann.presence.set({"cursor": 3})
    assert bob.presence.states() == {str(ann.timeline): {"cursor": 3}}
    ann.close()
    assert heard == [{}, {str(ann.timeline): {"cursor": 3}}, {}]
    with pytest.raises(CoordinatorRefused, match="no link"):
        _ = stage.client("direct").presence


def test_what_a_document_says_is_repeated_before_it_expires(clock, hub):
    own = OwnPresence(hub, "ann", Runtime(monotonic_s=lambda: clock.now_s))
    own.repeat()
    own.set({"cursor": 1}, ttl_s=30)
    for second in range(0, 100, 8):
        clock.now_s = float(second)
        own.repeat()
        assert hub.states() == {"ann": {"cursor": 1}}
    own.leave()
    own.leave()
    own.repeat()
    assert hub.states() == {}


def test_the_coordinators_thread_tells_of_those_who_fell_silent(stage):
    coordinator = stage.coordinator()
    gone = threading.Event()
    coordinator.presence.set("ann", {}, ttl_s=0.01)
    coordinator.presence.subscribe(lambda states: None if states else gone.set())
    coordinator.start()
    assert gone.wait(PATIENCE_S)
