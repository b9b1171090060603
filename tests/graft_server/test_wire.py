import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft_server.wire import (
    BadMessage,
    Empty,
    Frame,
    Range,
    RangeRequest,
    Span,
    decode,
    encode,
    first_lsn,
    span_until,
)

TIMELINE = bytes.fromhex("82b369376e9f93bbae78e512a40c7b31")

# Recorded from the published client, @orbitinghail/sqlsync-worker 0.3.2.
RECORDED = [
    ("00000000 1000000000000000" + TIMELINE.hex() + "01000000 0000000000000000 0000000000000000",
     RangeRequest(TIMELINE, Span(0, 0))),
    ("01000000 00000000 0000000000000000", Range(Empty(0))),
    ("02000000 1000000000000000" + TIMELINE.hex() + "0000000000000000 0100000000000000 69",
     Frame(TIMELINE, 0, b"i")),
    ("02000000 1000000000000000" + TIMELINE.hex() + "0100000000000000 0500000000000000 7000610031",
     Frame(TIMELINE, 1, b"p\0a\x001")),
    ("00000000 1000000000000000" + TIMELINE.hex() + "01000000 0000000000000000 0400000000000000",
     RangeRequest(TIMELINE, Span(0, 4))),
]  # fmt: skip
OURS = [
    ("00000000 2000000000000000" + "ab" * 32 + "00000000 0700000000000000", RangeRequest(b"\xab" * 32, Empty(7))),
    ("01000000 01000000 0000000000000000 0900000000000000", Range(Span(0, 9))),
]  # fmt: skip

ranges = st.one_of(
    st.builds(Empty, st.integers(0, 2**64 - 2)),
    st.tuples(st.integers(0, 2**64 - 2), st.integers(0, 2**64 - 2)).map(lambda ends: Span(min(ends), max(ends))),
)
ids = st.one_of(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
messages = st.one_of(
    st.builds(RangeRequest, ids, ranges),
    st.builds(Range, ranges),
    st.builds(Frame, ids, st.integers(0, 2**64 - 2), st.binary()),
)


@pytest.mark.parametrize(("text", "message"), RECORDED + OURS)
def test_the_bytes_are_those_of_sqlsync(text, message):
    assert decode(bytes.fromhex(text)) == message
    assert encode(message).hex() == text.replace(" ", "")


@given(messages)
def test_messages_come_back(message):
    assert decode(encode(message)) == message


@given(messages, st.data())
def test_messages_that_were_cut_or_grew_are_refused(message, data):
    whole = encode(message)
    with pytest.raises(BadMessage):
        decode(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(BadMessage):
        decode(whole + b"\0")


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_raise_bad_message(data):
    try:
        message = decode(data)
    except BadMessage:
        return
    assert encode(message) == data


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected 4 bytes, but only 0 follow"),
        ("03000000", "an enum of 3 variants has tag 3"),
        ("00000000 ffffffffffffffff", "a length of 18446744073709551615, but only 0 bytes follow"),
        ("00000000 0f00000000000000" + "00" * 15, "an id has 16 or 32 bytes, not 15"),
        ("01000000 02000000", "an enum of 2 variants has tag 2"),
        ("01000000 01000000 0200000000000000 0100000000000000", "a range begins at 2 and ends at 1"),
        ("01000000 00000000 ffffffffffffffff", "LSN 18446744073709551615 leaves no room"),
        ("02000000 1000000000000000" + "00" * 24 + "ffffffffffffff7f 00", "but only 1 bytes follow"),
    ],
)  # fmt: skip
def test_hostile_messages_are_told_apart(text, why):
    with pytest.raises(BadMessage, match="is not valid") as caught:
        decode(bytes.fromhex(text))
    assert why in str(caught.value)


def test_ranges():
    assert (first_lsn(Empty(3)), first_lsn(Span(2, 5)), Span(2, 5).next_lsn) == (3, 2, 6)
    assert (span_until(0), span_until(4)) == (Empty(0), Span(0, 3))
