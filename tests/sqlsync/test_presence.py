"""Presence: who is here and what they say, until they leave or fall silent."""

import pytest

from pagestore.runtime import Runtime
from sqlsync.presence import PresenceHub


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
