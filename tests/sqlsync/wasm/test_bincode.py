import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlsync.wasm.bincode import BadBincode, Reader, Writer

WRITTEN = bytes.fromhex(
    "07" "01000000" "0200000000000000" "feffffff" "fdffffffffffffff" "000000000000f83f"
    "0200000000000000" "ff00" "0300000000000000" "c3a461" "5a"
)  # fmt: skip


def written():
    writer = Writer()
    writer.u8(7)
    writer.u32(1)
    writer.u64(2)
    writer.i32(-2)
    writer.i64(-3)
    writer.f64(1.5)
    writer.blob(b"\xff\0")
    writer.text("äa")
    writer.raw(b"Z")
    return writer.value()


def test_the_bytes_are_those_of_bincode():
    assert written() == WRITTEN


def test_what_was_written_is_read_back():
    reader = Reader(WRITTEN)
    values = [reader.u8(), reader.u32(), reader.u64(), reader.i32(), reader.i64(), reader.f64()]
    assert values == [7, 1, 2, -2, -3, 1.5]
    assert (reader.blob(), reader.text(), reader.rest()) == (b"\xff\0", "äa", b"Z")
    reader.end()


def test_bytes_that_end_early_raise_wherever_they_end():
    for end in range(len(WRITTEN) - 1):
        reader = Reader(WRITTEN[:end])
        with pytest.raises(BadBincode):
            [read() for read in (reader.u8, reader.u32, reader.u64, reader.i32, reader.i64, reader.f64)]
            reader.blob()
            reader.text()
    assert math.isclose(Reader(WRITTEN[25:33]).f64(), 1.5)


@pytest.mark.parametrize(
    ("data", "take"),
    [
        (b"\xff" * 8, Reader.blob),
        (b"\x02" + b"\0" * 7 + b"a", Reader.text),
        (b"\x01" + b"\0" * 7 + b"\xff", Reader.text),
        (b"\x02\0\0\0", lambda reader: reader.tag(2)),
        (b"\x02", Reader.option),
        (b"\x02" + b"\0" * 7 + b"abc", lambda reader: reader.length(2)),
        (b"a", Reader.end),
    ],
)
def test_hostile_bytes_raise(data, take):
    with pytest.raises(BadBincode):
        take(Reader(data))


@given(st.binary(), st.text(), st.floats(allow_nan=False))
def test_any_value_comes_back(blob, text, number):
    writer = Writer()
    writer.blob(blob)
    writer.text(text)
    writer.f64(number)
    reader = Reader(writer.value())
    assert (reader.blob(), reader.text(), reader.f64()) == (blob, text, number)
    reader.end()
