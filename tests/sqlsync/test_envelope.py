"""The envelope: what is captured once comes back bit by bit, and damage is never a mutation."""

import datetime as dt
import math
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pagestore.runtime import Runtime
from sqlsync.envelope import Mutation, Named, Opaque, decode, encode
from sqlsync.errors import BadMutation, CorruptTimeline
from sqlsync.ids import TimelineId, base58, unbase58

GOLDEN = Path(__file__).parent / "golden" / "mutation_v1.golden"
EXAMPLE = Mutation(
    TimelineId(bytes(range(16))), 300, Named("füge hinzu", {"id": "a", "n": [1, 2.5, None, True]}), "ann", -5, 2**64 - 1
)
ids = st.one_of(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)).map(TimelineId)
texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=8,
)  # fmt: skip
bodies = st.builds(Named, st.text("abcé"), st.dictionaries(st.text("abc"), json_values)) | st.builds(
    Opaque, st.binary()
)
mutations = st.builds(
    Mutation, ids, st.integers(0, 2**64 - 1), bodies, st.text("ab☃"), st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
)  # fmt: skip


@given(mutations)
def test_what_is_stored_comes_back(mutation):
    assert decode(encode(mutation)) == mutation


def test_the_stored_form_is_that_of_the_golden_file():
    assert encode(EXAMPLE).hex() == GOLDEN.read_text().strip()
    assert decode(bytes.fromhex(GOLDEN.read_text())) == EXAMPLE


def test_damage_at_any_byte_is_found():
    data = encode(EXAMPLE)
    for place in range(len(data)):
        with pytest.raises(CorruptTimeline):
            decode(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        with pytest.raises(CorruptTimeline):
            decode(data[:place])
    with pytest.raises(CorruptTimeline):
        decode(data + b"\0")


class Place(BaseModel):
    shelf: int


def test_arguments_are_at_once_what_they_will_be_at_every_replay():
    timeline = TimelineId(bytes(32))
    given = {
        "when": dt.datetime(2024, 2, 29, tzinfo=dt.UTC), "id": uuid.UUID(int=1), "place": Place(shelf=2),
        "pair": (1, 2), "keys": {1: "one"},
    }  # fmt: skip
    mutation = Mutation.captured(timeline, 0, Named("add", given))
    assert mutation.body.arguments == {
        "when": "2024-02-29T00:00:00Z", "id": str(uuid.UUID(int=1)), "place": {"shelf": 2}, "pair": [1, 2],
        "keys": {"1": "one"},
    }  # fmt: skip
    assert decode(encode(mutation)) == mutation


def test_time_and_chance_are_captured_when_it_is_called():
    runtime = Runtime(now_s=lambda: 1_700_000_000.25, entropy=lambda count: b"\1" + bytes(count - 1))
    mutation = Mutation.captured(TimelineId(bytes(16)), 0, Opaque(b"x"), actor="ann", runtime=runtime)
    assert mutation.now == dt.datetime(2023, 11, 14, 22, 13, 20, 250000, dt.UTC)
    assert (mutation.seed, mutation.actor, mutation.name) == (1, "ann", "")


@pytest.mark.parametrize("value", [math.nan, math.inf, b"\xff", object(), {(1, 2): 3}, "\ud800"])
def test_what_json_cannot_say_is_no_argument(value):
    with pytest.raises(BadMutation, match="'add' cannot be written as JSON"):
        Mutation.captured(TimelineId(bytes(16)), 0, Named("add", {"value": value}))


def test_what_is_too_large_is_told_with_its_sizes():
    long = "x" * 70000
    for body, actor in ((Opaque(bytes(16 * 1024 * 1024 + 1)), ""), (Named(long, {}), ""), (Opaque(b""), long)):
        with pytest.raises(BadMutation, match="is too large"):
            Mutation.captured(TimelineId(bytes(16)), 0, body, actor=actor)


@given(st.binary(max_size=40))
def test_base58_goes_both_ways(raw):
    assert unbase58(base58(raw)) == raw


def test_base58_is_that_of_bitcoin():
    assert base58(b"\0\0hello world") == "11StV1DL6CwTryKyV"
    with pytest.raises(ValueError, match="not base58"):
        unbase58("0")
    for wrong in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 or 32"):
            TimelineId(wrong)
    assert TimelineId.parse(str(EXAMPLE.timeline)) == EXAMPLE.timeline
