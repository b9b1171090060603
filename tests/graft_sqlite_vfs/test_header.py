from graft_sqlite_vfs import header
from graft_sqlite_vfs.header import Header, ShownCounter


def page(counter: int, valid_for: int | None = None, fmt: bytes = b"\1\1") -> bytes:
    data = bytearray(bytes(range(256)) * 2)
    data[:16] = b"SQLite format 3\0"
    data[18:20] = fmt
    data[24:28] = counter.to_bytes(4, "big")
    data[92:96] = (counter if valid_for is None else valid_for).to_bytes(4, "big")
    return bytes(data)


def differing(one: bytes, other: bytes) -> set[int]:
    return {i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b}


def test_only_counters_and_format_are_shown_differently():
    stored = page(7, fmt=b"\2\2")
    shown = header.shown(stored, 0x01020304)
    assert differing(stored, shown) == {18, 19, 24, 25, 26, 27, 92, 93, 94, 95}
    assert shown[24:28] == shown[92:96] == b"\1\2\3\4"
    assert shown[18:20] == b"\1\1"


def test_unequal_counters_stay_unequal():
    shown = header.shown(page(7, valid_for=3), 0)
    assert shown[24:28] != shown[92:96]


def test_unknown_formats_are_shown_as_they_are():
    assert header.shown(page(7, fmt=b"\1\3"), 1)[18:20] == b"\1\3"


def test_what_a_rollback_puts_back_is_the_old_page():
    stored = page(7, valid_for=5, fmt=b"\2\2")
    assert header.stored_as_before(header.shown(stored, 99), Header.of(stored)) == stored


def test_a_change_counts_on_from_what_was_stored():
    written = page(100)
    assert header.counter_in(header.stored_as_changed(written, Header.of(page(7)))) == 8
    assert header.counter_in(header.stored_as_changed(written, None)) == 1
    assert header.counter_in(header.stored_as_changed(written, Header.of(page(2**32 - 1)))) == 0
    assert header.stored_as_changed(written, None)[92:96] == b"\0\0\0\1"


def test_page_sizes():
    for size in (512, 1024, 4096, 32768, 65536):
        empty = header.empty_header(size)
        assert len(empty) == header.HEADER_BYTES
        assert header.is_database(empty)
        assert header.page_size_in(empty) == size


def test_the_fields_of_page_one():
    fields = header.Header.of(page(7, valid_for=3, fmt=b"\2\1"))
    assert fields == (bytes([16, 17]), b"\2\1", 7, 0x1C1D1E1F, 0x28292A2B, 3)


def test_other_content_never_looks_like_what_sqlite_wrote_or_saw():
    counter = ShownCounter()
    seen = set()
    assert counter.turn_to(5)
    seen.add(counter.value)
    assert not counter.turn_to(5)
    # A transaction whose commit was tried twice, and then given up.
    for written in (counter.value + 1, counter.value + 2):
        counter.saw_written(written)
        seen.add(written)
    assert counter.turn_to(6)
    assert counter.value not in seen


def test_an_own_commit_keeps_what_sqlite_wrote():
    counter = ShownCounter()
    counter.turn_to(5)
    counter.saw_written(counter.value + 1)
    written = counter.value + 1
    counter.committed(6, written)
    assert not counter.turn_to(6)
    assert counter.value == written
    assert counter.turn_to(7)
    assert counter.value > written
