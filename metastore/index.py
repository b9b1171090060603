"""A commit with the part of its index that has been read, and reading it in few requests.

An index that fits into the first `HEAD_READ_BYTES` of its object arrives with one request. For a larger index, the
directory is read first, and then only the chunks that are used, by ranged reads.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import xxhash

from metastore.commit import Commit, DirectoryEntry
from metastore.commit_codec import decode_commit, head_length_of, named
from metastore.commitlog import CommitLog
from metastore.errors import CommitMissing, CorruptCommit
from metastore.ids import LogId
from metastore.lsn import BEFORE_FIRST, LSN, chain
from metastore.placement import EMPTY, ChunkPlacement
from metastore.placement_codec import decode_placement
from pagestore.objectstore import etag_of
from pagestore.parallel import Parallel

HEAD_READ_BYTES = 128 * 1024
_RANGE_BYTES_MAX = 1024 * 1024


@dataclass(slots=True)
class CommitIndex:
    """A commit and the chunks of its index that have been read; chunks are only ever added."""

    commit: Commit
    head: bytes
    """The commit's head as stored, so that a replica can store it too."""
    chunks: dict[int, bytes] = field(default_factory=dict)
    """Stored index chunks by number, each verified against its digest."""
    inline: bytes | None = None
    """The inline segment, if all of it was read with the head."""
    inline_start: bytes = b""
    """The first bytes of the inline segment, if only part of it was read with the head."""
    etag: str = ""
    """The ETag of the commit object, if all of it was read (`pagestore.objectstore.etag_of`)."""
    _entries: dict[int, DirectoryEntry] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._entries = {entry.number: entry for entry in self.commit.directory}

    @classmethod
    def decode(cls, data: bytes, log: LogId, lsn: LSN) -> "CommitIndex":
        """Decode the first bytes of a commit object: its head, and the chunks that they contain."""
        commit = decode_commit(data, log, lsn)
        index = cls(commit, data[: head_length_of(data)])
        for entry in commit.directory:
            if entry.offset + entry.length <= len(data):
                index.add_chunk(entry.number, data[entry.offset : entry.offset + entry.length])
        end = commit.inline_offset + commit.inline_length
        if commit.inline_length and end <= len(data):
            index.inline = data[commit.inline_offset : end]
        elif commit.inline_length:
            index.inline_start = data[commit.inline_offset :]
        return index

    def mentions(self, number: int) -> bool:
        """Return whether the chunk is in the directory."""
        return number in self._entries

    def fingerprint_of(self, number: int) -> int:
        """Return the fingerprint of the whole chunk as of this commit; the chunk must be in the directory."""
        return self._entries[number].fingerprint

    def entry(self, number: int) -> DirectoryEntry:
        """Return a chunk's entry in the directory, which must have one."""
        return self._entries[number]

    def add_chunk(self, number: int, data: bytes) -> None:
        """Add a chunk's stored bytes; raises `CorruptCommit` if they do not match the directory."""
        entry = self._entries[number]
        if len(data) != entry.length or xxhash.xxh3_64_intdigest(data) != entry.digest:
            raise CorruptCommit(
                f"commit {self.commit.lsn} of log {self.commit.log}: index chunk {number} does not match its digest"
            )
        self.chunks[number] = data

    def lacks(self, number: int) -> bool:
        """Return whether the chunk is in the directory but has not been read."""
        return number in self._entries and number not in self.chunks

    def placement(self, number: int) -> ChunkPlacement:
        """Decode a chunk, which must have been read; empty if the directory has no such chunk."""
        if number not in self._entries:
            return EMPTY
        assert number in self.chunks, "BUG: index chunk used before it was read"
        with named(self.commit.log, self.commit.lsn):
            return decode_placement(self.chunks[number], len(self.commit.segments))


def read_index(commits: CommitLog, log: LogId, lsn: LSN) -> CommitIndex:
    """Fetch a commit in one request, or two if its head alone is larger than `HEAD_READ_BYTES`.

    Raises `CommitMissing`, `CorruptCommit` (also for a truncated object) or `UnsupportedCommit`.
    """
    data = commits.read(log, lsn, 0, HEAD_READ_BYTES)
    if len(data) == HEAD_READ_BYTES:
        with named(log, lsn):
            missing = head_length_of(data) - len(data)
        if missing > 0:
            data += commits.read(log, lsn, len(data), missing)
    index = CommitIndex.decode(data, log, lsn)
    if len(data) < min(HEAD_READ_BYTES, index.commit.total_length):
        raise CorruptCommit(f"commit {lsn} of log {log}: cut short, {len(data)} of {index.commit.total_length} bytes")
    if len(data) == index.commit.total_length:
        index.etag = etag_of(data)
    return index


def read_chain(
    commits: CommitLog,
    parallel: Parallel,
    log: LogId,
    head: LSN,
    after: LSN = BEFORE_FIRST,
    known: Mapping[LSN, CommitIndex] | None = None,
) -> list[CommitIndex]:
    """Fetch, in one parallel batch, the commits that lead from ``after`` to ``head``, newest first.

    The list ends with a base, or with the first commit whose range reaches ``after``. Commits in ``known`` are not
    fetched, nor commits below a base that ``known`` names: given the chain of an older head, a pull fetches only newer
    commits. Raises `CommitMissing` if one of the commits is missing, `CorruptCommit` if they contradict each other.
    """
    known = known or {}
    wanted = chain(head, after)
    floor = max((index.commit.base for lsn, index in known.items() if lsn <= head), default=BEFORE_FIRST)
    wanted = [lsn for lsn in wanted if lsn >= floor]
    absent = [lsn for lsn in wanted if lsn not in known]
    indexes = parallel.map(lambda lsn: _read_or_missing(commits, log, lsn), absent)
    fetched = dict(zip(absent, indexes, strict=True))
    found: list[CommitIndex] = []
    for lsn in wanted:
        index = known[lsn] if lsn in known else fetched[lsn]
        if isinstance(index, CommitMissing):
            raise index
        found.append(index)
        if index.commit.is_base:
            break
    _check_chain([index.commit for index in found], after)
    return found


def _read_or_missing(commits: CommitLog, log: LogId, lsn: LSN) -> CommitIndex | CommitMissing:
    # Commits below the newest base may have been deleted; only newer commits show which one is the newest base.
    try:
        return read_index(commits, log, lsn)
    except CommitMissing as error:
        return error


def _check_chain(found: Sequence[Commit], after: LSN) -> None:
    for newer, older in pairwise(found):
        if older.page_size != newer.page_size:
            raise CorruptCommit(
                f"log {newer.log}: commit {older.lsn} has pages of {older.page_size} bytes, "
                f"{newer.lsn} of {newer.page_size}"
            )
        if older.lsn == newer.lsn - 1 and older.hash != newer.parent_hash:
            raise CorruptCommit(
                f"log {newer.log}: commit {newer.lsn} was built on another commit {older.lsn} "
                f"({newer.parent_hash.hex()}, not {older.hash.hex()})"
            )
    if not found:
        return
    last = found[-1]
    if last.covers_after > after:
        raise CorruptCommit(f"log {last.log}: commit {last.lsn} does not reach down to {after}")
    for commit in found if last.is_base else ():
        if commit.base != last.lsn:
            raise CorruptCommit(
                f"log {last.log}: commit {commit.lsn} names base {commit.base}, but {last.lsn} is one too"
            )


def load_chunks(commits: CommitLog, parallel: Parallel, wanted: Iterable[tuple[CommitIndex, int]]) -> None:
    """Read the wanted chunks that have not been read, in one parallel batch; adjacent chunks share a request."""

    def read(run: _Run) -> bytes:
        first, last, commit = run.entries[0], run.entries[-1], run.index.commit
        return commits.read(commit.log, commit.lsn, first.offset, last.offset + last.length - first.offset)

    runs = _runs(wanted)
    for run, data in zip(runs, parallel.map(read, runs), strict=True):
        for entry in run.entries:
            start = entry.offset - run.entries[0].offset
            run.index.add_chunk(entry.number, data[start : start + entry.length])


@dataclass(frozen=True, slots=True)
class _Run:
    """Adjacent chunks of one commit, for one ranged read."""

    index: CommitIndex
    entries: Sequence[DirectoryEntry]


def _runs(wanted: Iterable[tuple[CommitIndex, int]]) -> list[_Run]:
    lacking: dict[int, tuple[CommitIndex, set[int]]] = {}
    for index, number in wanted:
        if index.lacks(number):
            lacking.setdefault(id(index), (index, set()))[1].add(number)
    runs: list[_Run] = []
    for index, numbers in lacking.values():
        run: list[DirectoryEntry] = []
        for entry in map(index.entry, sorted(numbers)):
            if run and not _joins(run, entry):
                runs.append(_Run(index, run))
                run = []
            run.append(entry)
        runs.append(_Run(index, run))
    return runs


def _joins(run: Sequence[DirectoryEntry], entry: DirectoryEntry) -> bool:
    adjacent = run[-1].offset + run[-1].length == entry.offset
    return adjacent and entry.offset + entry.length - run[0].offset <= _RANGE_BYTES_MAX
