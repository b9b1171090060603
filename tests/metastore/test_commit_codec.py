"""The bytes of a commit: what goes in comes out, and what was changed never does."""

import dataclasses
import random
import struct

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from metastore import index as metastore_index
from metastore.commit import CommitKind
from metastore.commit_codec import FIXED_BYTES, ChunkBytes, decode_commit, encode_commit, head_length_of
from metastore.errors import CorruptCommit, MetaStoreError, UnsupportedCommit
from metastore.index import CommitIndex, read_index
from metastore.lsn import LSN
from metastore.placement import InCommit, OwnObject, SegmentRef
from metastore.testing import CountingCommitLog, MemoryCommitLog
from pagestore.parallel import Parallel
from pagestore.segments.fetch import fetch_frames
from pagestore.stores.memory import MemoryStore
from tests.metastore.sample_commit import (
    FIRST_SEGMENT,
    GOLDEN,
    LOG,
    OTHER_LOG,
    PAGE_COUNT,
    draft,
    golden_commits,
)
from tests.pagestore.segments.sample_segment import PAGE_SIZE, SEGMENT, body_of

LSN_14 = LSN(14)
DATA = encode_commit(draft())
HEAD_BYTES = head_length_of(DATA)


def decoded(data=DATA):
    return decode_commit(data, LOG, LSN_14)


def patched(offset, value, data=DATA):
    """Return the commit with some bytes replaced and every hash made right again, as a wrong writer would."""
    head = bytearray(data[:HEAD_BYTES])
    head[offset : offset + len(value)] = value
    head[-16:] = xxhash.xxh3_128_digest(bytes(head[:-16]))
    covered = bytes(head) + data[HEAD_BYTES:-8]
    return covered + struct.pack("<Q", xxhash.xxh3_64_intdigest(covered))


class TestRoundTrip:
    def test_every_field(self):
        commit, given_ = decoded(), draft()
        for field in dataclasses.fields(given_):
            if field.name not in {"segments", "chunks", "inline", "attributes"}:
                assert getattr(commit, field.name) == getattr(given_, field.name), field.name
        assert dict(commit.attributes) == given_.attributes
        inline_home = InCommit(LOG, LSN_14, commit.inline_offset)
        assert commit.segments == (SegmentRef(SEGMENT, inline_home), *given_.segments[1:])
        assert (commit.page_count, commit.is_base) == (PAGE_COUNT, False)
        assert commit.total_length == len(DATA)
        assert commit.hash == DATA[HEAD_BYTES - 16 : HEAD_BYTES]

    def test_the_parts_are_where_it_says(self):
        commit = decoded()
        parts = {entry.number: DATA[entry.offset : entry.offset + entry.length] for entry in commit.directory}
        assert parts == {0: b"chunk zero", 2: b"and chunk two"}
        assert [entry.fingerprint for entry in commit.directory] == [0x1111, 0x2222]
        end = commit.inline_offset + commit.inline_length
        assert DATA[commit.inline_offset : end] == b"the inline segment"
        assert end + 8 == len(DATA)

    @settings(derandomize=True)
    @given(
        st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=5),
        st.integers(0, 4096 * PAGE_COUNT),
        st.binary(max_size=40),
        st.integers(0, 4),
    )
    def test_any_content(self, attributes, missing_bytes, inline, chunks):
        given_ = draft(
            segments=[SEGMENT] if inline else [],
            attributes=attributes,
            byte_size=2**40 - missing_bytes,
            inline=inline,
            chunks=[ChunkBytes(3 * number, bytes([number]) * number, number) for number in range(chunks)],
        )
        index = CommitIndex.decode(encode_commit(given_), LOG, LSN_14)
        assert dict(index.commit.attributes) == attributes
        assert index.commit.byte_size == given_.byte_size
        assert index.inline == (inline or None)
        assert index.chunks == {chunk.number: chunk.data for chunk in given_.chunks}

    def test_the_least_commit(self):
        least = draft(segments=[], chunks=[], inline=b"", attributes={}, byte_size=0, min_page_count=0, live_pages=0)
        data = encode_commit(least)
        assert len(data) == FIXED_BYTES + 1 + 16 + 8
        commit = decoded(data)
        assert (commit.page_count, commit.segments, commit.directory) == (0, (), ())

    def test_attributes_cannot_be_changed(self):
        with pytest.raises(TypeError):
            decoded().attributes["message"] = b""


class TestPrefixes:
    def test_a_head_alone_decodes(self):
        assert decoded(DATA[:HEAD_BYTES]) == decoded()

    def test_any_prefix_decodes_to_the_same_commit_or_not_at_all(self):
        whole = decoded()
        for length in range(len(DATA)):
            if length < HEAD_BYTES:
                with pytest.raises(CorruptCommit, match=r"commit 14 of log l-0011"):
                    decoded(DATA[:length])
            else:
                assert decoded(DATA[:length]) == whole

    def test_what_a_prefix_lacks_is_known_to_be_lacking(self):
        first = decoded().directory[0]
        index = CommitIndex.decode(DATA[: first.offset + first.length], LOG, LSN_14)
        assert (index.lacks(0), index.lacks(2), index.lacks(1)) == (False, True, False)
        assert index.inline is None

    def test_bytes_after_the_end_are_refused(self):
        with pytest.raises(CorruptCommit, match=f"{len(DATA) + 1} bytes do not fit .* an object of {len(DATA)}"):
            decoded(DATA + b"\0")

    @pytest.mark.parametrize("read_bytes", [FIXED_BYTES, HEAD_BYTES - 1, HEAD_BYTES, len(DATA), 10**6])
    def test_reading_takes_one_request_or_two(self, monkeypatch, read_bytes):
        monkeypatch.setattr(metastore_index, "HEAD_READ_BYTES", read_bytes)
        commits = CountingCommitLog(MemoryCommitLog({(LOG, LSN_14): DATA}))
        assert read_index(commits, LOG, LSN_14).commit == decoded()
        rest = [(14, read_bytes, HEAD_BYTES - read_bytes)] if read_bytes < HEAD_BYTES else []
        assert commits.reads == [(14, 0, read_bytes), *rest]

    @pytest.mark.parametrize("read_bytes", [HEAD_BYTES - 1, 10**6])
    def test_an_object_that_was_cut_short_is_told(self, monkeypatch, read_bytes):
        monkeypatch.setattr(metastore_index, "HEAD_READ_BYTES", read_bytes)
        for length in range(len(DATA) if read_bytes > len(DATA) else HEAD_BYTES):
            with pytest.raises(CorruptCommit, match=r"commit 14 of log l-0011"):
                read_index(MemoryCommitLog({(LOG, LSN_14): DATA[:length]}), LOG, LSN_14)


class TestDamage:
    def test_no_flipped_bit_goes_unnoticed(self):
        for bit in range(len(DATA) * 8):
            data = bytearray(DATA)
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises((CorruptCommit, UnsupportedCommit), match=r"commit 14 of log l-0011"):
                CommitIndex.decode(bytes(data), LOG, LSN_14)

    def test_no_flipped_bit_of_a_prefix_goes_unnoticed(self):
        chunk = decoded().directory[0]
        for bit in range((chunk.offset + chunk.length) * 8):
            data = bytearray(DATA[: chunk.offset + chunk.length])
            data[bit // 8] ^= 1 << bit % 8
            with pytest.raises((CorruptCommit, UnsupportedCommit)):
                CommitIndex.decode(bytes(data), LOG, LSN_14)

    def test_a_flipped_length_is_noticed_before_anyone_reads_so_much(self):
        commits = CountingCommitLog(MemoryCommitLog())
        metastore_head = metastore_index.HEAD_READ_BYTES
        large = encode_commit(draft(inline=bytes(metastore_head)))
        for bit in range(FIXED_BYTES * 8):
            data = bytearray(large)
            data[bit // 8] ^= 1 << bit % 8
            commits.inner.objects[LOG, LSN_14] = bytes(data)
            with pytest.raises((CorruptCommit, UnsupportedCommit), match=r"commit 14 of log l-0011"):
                read_index(commits, LOG, LSN_14)
        assert {(start, length) for _, start, length in commits.reads} == {(0, metastore_head)}

    @settings(derandomize=True, max_examples=300)
    @given(st.binary(max_size=400), st.booleans())
    def test_noise_is_refused(self, noise, with_magic):
        with pytest.raises(MetaStoreError):
            decoded(b"graftcmt\1\0" + noise if with_magic else noise)

    def test_spliced_halves_are_refused(self):
        other = encode_commit(draft(nonce=bytes(16)))
        for cut in random.Random(5).sample(range(40, len(DATA) - 8), 60):
            spliced = DATA[:cut] + other[cut:]
            if spliced not in {DATA, other}:
                with pytest.raises(CorruptCommit):
                    decoded(spliced)


class TestRefusals:
    def test_a_newer_version(self):
        with pytest.raises(UnsupportedCommit, match=r"commit 14 of log l-0011.*: format version 2,.*upgrade graft"):
            decoded(patched(8, b"\2\0"))

    @pytest.mark.parametrize(("offset", "what"), [(11, "cipher 7"), (12, "key 7")])
    def test_encryption(self, offset, what):
        with pytest.raises(UnsupportedCommit, match=what):
            decoded(patched(offset, b"\7"))

    def test_another_magic(self):
        with pytest.raises(CorruptCommit, match="wrong magic"):
            decoded(patched(0, b"graftseg"))

    def test_the_commit_of_another_log(self):
        with pytest.raises(CorruptCommit, match=f"commit 14 of log {OTHER_LOG}: the object is commit 14 of log {LOG}"):
            decode_commit(DATA, OTHER_LOG, LSN_14)

    def test_the_commit_of_another_lsn(self):
        with pytest.raises(CorruptCommit, match=f"commit 15 of log {LOG}: the object is commit 14 of log {LOG}"):
            decode_commit(DATA, LOG, LSN(15))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"covers_after": LSN(11)}, r"cover \(11, 14\]"),
            ({"covers_after": LSN(14)}, r"cover \(14, 14\]"),
            ({"base": LSN(14)}, r"cover \(12, 14\] on base 14"),
            ({"base": LSN(13)}, "on base 13"),
            ({"covers_after": LSN(0)}, "on base 8"),
            ({"covers_after": LSN(0), "base": LSN(14)}, "at least 8000 at all times"),
            ({"min_page_count": PAGE_COUNT + 1}, "at least 9001 at all times"),
            ({"live_pages": PAGE_COUNT + 1}, "9001 live pages of 9000"),
            ({"byte_size": 2**63}, "live pages"),
            ({"page_size": 5000}, "page size must be a power of two"),
            ({"kind": 9}, "9 is not a valid CommitKind"),
            ({"inline": b""}, "names an inline segment that it does not contain"),
            ({"chunks": [ChunkBytes(3, b"", 0)]}, "index chunk 3, but only 9000 pages"),
            ({"chunks": [ChunkBytes(1, b"", 0), ChunkBytes(1, b"", 0)]}, "the directory is not in order"),
            ({"chunks": [ChunkBytes(2, b"", 0), ChunkBytes(0, b"", 0)]}, "the directory is not in order"),
        ],
    )
    def test_what_no_writer_may_say(self, changes, message):
        with pytest.raises(CorruptCommit, match=message):
            decoded(encode_commit(draft(**changes)))

    def test_attributes_out_of_order(self):
        data = encode_commit(draft(attributes={"a": b"1", "b": b"2"}))
        swapped = data.replace(b"\1\0\1\0\0\0a1\1\0\1\0\0\0b2", b"\1\0\1\0\0\0b2\1\0\1\0\0\0a1")
        head = bytearray(swapped[: head_length_of(data)])
        head[-16:] = xxhash.xxh3_128_digest(bytes(head[:-16]))
        with pytest.raises(CorruptCommit, match="attributes are not in order"):
            decoded(bytes(head))

    def test_attributes_that_run_over(self):
        data = encode_commit(draft(attributes={"a": b"1"}))
        head = bytearray(data[: head_length_of(data)])
        head[FIXED_BYTES] = 200
        head[-16:] = xxhash.xxh3_128_digest(bytes(head[:-16]))
        with pytest.raises(CorruptCommit, match="the attributes exceed their length"):
            decoded(bytes(head))


class TestGolden:
    @pytest.mark.parametrize("name", sorted(golden_commits()))
    def test_bytes_stay_as_they_are(self, name):
        assert golden_commits()[name] == (GOLDEN / name).read_bytes()

    @pytest.mark.parametrize(
        ("name", "lsn", "base", "pages", "smallest", "live", "kind"),
        [
            ("commit_v1_base.golden", 1, 1, 9000, 0, 10, CommitKind.COMPACT),
            ("commit_v1_size_not_whole_pages.golden", 2, 2, 9000, 0, 10, CommitKind.WRITE),
            ("commit_v1_inline_cut.golden", 3, 2, 5000, 4095, 7, CommitKind.WRITE),
        ],
    )
    def test_old_bytes_decode(self, name, lsn, base, pages, smallest, live, kind):
        index = CommitIndex.decode((GOLDEN / name).read_bytes(), LOG, LSN(lsn))
        commit = index.commit
        assert (commit.lsn, commit.base, commit.kind) == (lsn, base, kind)
        assert (commit.page_count, commit.min_page_count, commit.live_pages) == (pages, smallest, live)
        assert all(len(index.placement(entry.number).page_low) for entry in commit.directory)

    def test_pages_are_found_by_the_golden_commits_alone(self):
        data = (GOLDEN / "commit_v1_inline_cut.golden").read_bytes()
        index = CommitIndex.decode(data, LOG, LSN(3))
        assert dict(index.commit.attributes) == {"message": "käse".encode(), "tables": b"\0\1"}
        chunk = index.placement(0)
        (ref,) = index.commit.segments
        assert (chunk.page_low + 1).tolist() == [2, 5, 4091]
        locations = [
            ref.locate(offset, length)
            for offset, length in zip(chunk.frame_offset.tolist(), chunk.frame_length.tolist(), strict=True)
        ]
        store = MemoryStore("golden-commit")
        store.put(locations[0].key, data)
        frames = dict(fetch_frames(store, Parallel(1), locations, PAGE_SIZE))
        for low, row, slot in zip(chunk.page_low, chunk.page_frame, chunk.page_slot, strict=True):
            frame = frames[locations[row]]
            assert frame.pages[slot] == low + 1
            assert frame.body[slot * PAGE_SIZE : (slot + 1) * PAGE_SIZE] == body_of(int(low) + 1)
        assert ref.segment == SEGMENT

    def test_a_segment_of_its_own_is_an_object(self):
        index = CommitIndex.decode((GOLDEN / "commit_v1_base.golden").read_bytes(), LOG, LSN(1))
        assert index.commit.segments == (SegmentRef(FIRST_SEGMENT, OwnObject()),)
        assert index.commit.segments[0].locate(5, 6).key == f"segments/{FIRST_SEGMENT}"
