"""The reducer ABI's bytes: those of SQLSync's own SDK (crate sqlsync-reducer 0.3.2), and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlsync.wasm.abi import (
    Changes,
    ConversionError,
    Exec,
    Failed,
    LogRecord,
    Query,
    Rows,
    UnknownError,
    read_log_record,
    read_reply,
    write_response,
    write_step,
)
from sqlsync.wasm.bincode import BadBincode

VALUES = (None, -2, 1.5, "ä", b"\0\xff")
VALUES_HEX = (
    "00000000" "01000000feffffffffffffff" "02000000000000000000f83f" "030000000200000000000000c3a4"
    "04000000020000000000000000ff"
)  # fmt: skip
REPLIES = {
    "00000000" "00": None,
    (
        "00000000" "01" "0200000000000000"
        "07000000" "00000000" "0800000000000000" "53454c454354203f" "0500000000000000" + VALUES_HEX +
        "08000000" "01000000" "0600000000000000" "44454c455445" "0000000000000000"
    ): {7: Query("SELECT ?", VALUES), 8: Exec("DELETE", ())},
    "01000000" "01000000" "0200000000000000" "6e6f": UnknownError("no"),
    "01000000" "00000000" "03000000" "0100000000000000" "78" "0300000000000000" "693634": ConversionError("x", "i64"),
}  # fmt: skip
RESPONSES = {
    "00000000" "0500000000000000" + "".join(f"0100000000000000{ord(name):02x}" for name in "abcde")
    + "0100000000000000" "0500000000000000" + VALUES_HEX: Rows(("a", "b", "c", "d", "e"), [VALUES]),
    "00000000" "0300000000000000": Changes(3),
    "01000000" "00000000" "13080000" "0600000000000000" "554e49515545": Failed(2067, "UNIQUE"),
    "01000000" "01000000" "0400000000000000" "77686174": Failed(None, "what"),
}  # fmt: skip
LOG = "0400000000000000494e464f020000000000000068690106000000000000006c69622e7273010c000000"


@pytest.mark.parametrize(("written", "meant"), REPLIES.items())
def test_replies_are_read(written, meant):
    assert read_reply(bytes.fromhex(written)) == meant


@pytest.mark.parametrize(("written", "meant"), RESPONSES.items())
def test_responses_are_written(written, meant):
    assert write_response(meant).hex() == written


def test_a_step_says_where_the_responses_are():
    assert write_step({7: 4096, 8: 70000}).hex() == "01020000000000000007000000001000000800000070110100"


def test_a_log_record_is_read():
    record = read_log_record(bytes.fromhex(LOG))
    assert record == LogRecord("INFO", "hi", "lib.rs", 12)
    assert str(record) == "hi (lib.rs:12)"


def test_requests_come_in_the_order_of_their_ids():
    one = "{:02x}0000000000000000000000000000000000000000000000"
    data = bytes.fromhex("00000000010200000000000000" + one.format(9) + one.format(3))
    assert list(read_reply(data)) == [3, 9]


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        "02000000",  # neither Ok nor Err
        ("00000000" "02"),  # neither Some nor None
        ("00000000" "00" "00"),  # a byte too many
        ("00000000" "01" "ffffffffffffffff"),  # more requests than bytes
        "00000000" "01" "0100000000000000" "07000000" "02000000" + "00" * 16,  # neither Query nor Exec
        ("00000000" "01" "0100000000000000" "07000000" "00000000" "0100000000000000" "ff" "0000000000000000"),
        ("00000000" "01" "0100000000000000" "07000000" "00000000" "0000000000000000" "0100000000000000" "05000000"),
        "00000000" "01" "0200000000000000" + ("07000000" "00000000" + "00" * 16) * 2,  # one id twice
        ("01000000" "02000000"),
    ],
)  # fmt: skip
def test_hostile_replies_are_refused(hostile):
    with pytest.raises(BadBincode):
        read_reply(bytes.fromhex(hostile))


@given(st.binary(max_size=200), st.sampled_from(list(REPLIES)), st.integers(0, 200), st.integers(0, 255))
def test_any_bytes_are_read_or_refused(noise, written, place, byte):
    damaged = bytearray(bytes.fromhex(written))
    damaged[place % len(damaged)] = byte
    for data in (noise, bytes.fromhex("0000000001") + noise, bytes(damaged), bytes(damaged[:place])):
        for read in (read_reply, read_log_record):
            try:
                read(data)
            except BadBincode as error:
                assert str(error)  # noqa: PT017 - either is right
