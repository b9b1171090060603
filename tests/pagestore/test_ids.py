import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagestore.ids import ID_BYTES, SegmentId
from pagestore.runtime import Runtime

RAW = st.binary(min_size=ID_BYTES, max_size=ID_BYTES)


def runtime_at(now_s: float, entropy: bytes = bytes(10)) -> Runtime:
    return Runtime(now_s=lambda: now_s, entropy=lambda count: entropy[:count])


@given(RAW)
def test_the_text_form_reads_back(raw):
    assert SegmentId.parse(str(SegmentId(raw))) == SegmentId(raw)


@given(RAW, RAW)
def test_text_and_bytes_sort_alike(left, right):
    assert (str(SegmentId(left)) < str(SegmentId(right))) == (left < right)
    assert (SegmentId(left) < SegmentId(right)) == (left < right)


def test_the_text_form_is_fixed():
    segment = SegmentId.new(runtime_at(1_700_000_000.123, b"\xab" * 10))
    assert str(segment) == "s-018bcfe5687babababababababababab"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s-",
        "s" + "0" * 33,
        "x-" + "0" * 32,
        "s-" + "0" * 31,
        "s-" + "0" * 33,
        "s-" + "g" * 32,
        "s-" + "A" * 32,
        "s-" + "0 " * 16,
        "s-" + "٣" * 32,
        " s-" + "0" * 32,
        "s-" + "0" * 32 + "\n",
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError):
        SegmentId.parse(text)


@pytest.mark.parametrize("length", [0, 15, 17])
def test_other_lengths_are_refused(length):
    with pytest.raises(ValueError, match="16 bytes"):
        SegmentId(bytes(length))


@given(st.integers(0, 2**40), st.integers(1, 2**30), RAW, RAW)
def test_ids_sort_by_the_time_they_were_made(earlier_s, apart_s, first, second):
    early = SegmentId.new(runtime_at(earlier_s % 2**37, first))
    late = SegmentId.new(runtime_at(earlier_s % 2**37 + apart_s, second))
    assert early < late


def test_ids_made_in_the_same_instant_differ():
    assert len({SegmentId.new() for _ in range(1000)}) == 1000
