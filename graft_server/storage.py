"""The storage log of a document, as SQLSync's clients replicate it, generated from the volume's history.

    frame LSN = base + LSN of the volume's remote; base is derived from the volume's log
    payload:    page indexes, u32 little-endian, descending | the pages of 4096 bytes, in the same order

So the numbers are the same after a restart and on every server, and need no storage. A volume that took another one's
name has another base, so a client's frames of the old volume are recognized by their numbers. Threads may share a log.
"""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import xxhash

from graft.operations.changes import Pages, moved_pages, pages_written_since
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.sync.move import published
from metastore.ids import LogId
from metastore.lsn import LSN

PAGE_SIZE: Final = 4096
_COOKIE: Final = slice(40, 44)
_STEPS_KEPT: Final = 1024
_PAYLOADS_KEPT: Final = 8
_KEPT_BYTES_MAX: Final = 2 * 1024 * 1024


class NotServable(Exception):
    """SQLSync's clients cannot use this document; the message says why."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A version, and the pages that differ in the next version that this log has seen."""

    before: int
    pages: Pages


@dataclass(frozen=True, slots=True)
class _Schema:
    cookie: int
    """SQLite's schema cookie in the version that was sent last."""
    changed_at: int | None
    """The volume's LSN at which this cookie appeared; None if the log has not seen that."""


class StorageLog:
    """The frames of one document."""

    def __init__(self, replica: Replica, frame_bytes_max: int) -> None:
        """Serve the remote versions that ``replica`` has. Raises `NotServable` for another page size."""
        if replica.page_size != PAGE_SIZE:
            raise NotServable(
                f"volume {replica.name} has pages of {replica.page_size} bytes; SQLSync's have {PAGE_SIZE}"
            )
        self.base = base_of(replica.log)
        self._replica = replica
        self._frame_bytes_max = frame_bytes_max
        self._lock = threading.Lock()  # guards the attributes below
        self._newest = published(replica)
        self._steps: deque[_Step] = deque(maxlen=_STEPS_KEPT)
        self._payloads: dict[int | None, bytes] = {}
        self._schema: _Schema | None = None

    @property
    def head(self) -> int:
        """The LSN of the newest frame; `base` while the volume is empty."""
        return self.base + self._newest.lsn

    def refresh(self) -> int:
        """Take the replica's newest version; return the newest frame's LSN."""
        with self._lock:
            found = published(self._replica)
            if found.lsn != self._newest.lsn:
                pages = moved_pages(self._newest.page_map, found.page_map)
                self._steps.append(_Step(self._newest.lsn, pages))
                self._newest, self._payloads = found, {}
            return self.base + self._newest.lsn

    def payload(self, since: int | None) -> bytes:
        """Return the payload that takes a client from frame ``since``, or from nothing, to the newest version.

        Fetches missing pages. Raises `NotServable`, and the errors of graft.
        """
        with self._lock:
            newest, steps, payloads = self._newest, list(self._steps), self._payloads
        if since not in payloads:
            pages = self._pages(newest, steps, since)
            size = len(pages) * (PAGE_SIZE + 4)
            if size > self._frame_bytes_max:
                raise NotServable(
                    f"{newest.describe()} needs a frame of {size} bytes, more than the limit of "
                    f"{self._frame_bytes_max}; use a client that fetches pages on demand"
                )
            made = encode_pages(newest, pages, self._shown_cookie(newest))
            if size > _KEPT_BYTES_MAX or len(payloads) >= _PAYLOADS_KEPT:
                return made
            payloads[since] = made
        return payloads[since]

    def _shown_cookie(self, newest: Snapshot) -> int:
        """Return the schema cookie to show: twice SQLite's own, plus one after the version that changed it.

        When the schema changes, the published client determines the root pages of a live query with the old schema. The
        second change of the cookie makes it determine them again, with the new one.
        """
        cookie = int.from_bytes(newest.read(1)[_COOKIE], "big")
        with self._lock:
            if self._schema is None:
                self._schema = _Schema(cookie, None)
            elif cookie != self._schema.cookie:
                self._schema = _Schema(cookie, newest.lsn)
            return (2 * cookie + (newest.lsn != self._schema.changed_at)) % 2**32

    def _pages(self, newest: Snapshot, steps: Sequence[_Step], since: int | None) -> Pages:
        """Return the pages that a client at frame ``since`` lacks, and always page 1, since a frame cannot be empty."""
        if since is None:
            return np.arange(1, newest.page_count + 1, dtype=np.int64)
        before = since - self.base
        first = next((place for place, step in enumerate(steps) if step.before == before), None)
        if before == newest.lsn:
            found = []
        elif first is not None:
            found = [step.pages for step in steps[first:]]
        else:
            found = [pages_written_since(self._replica, before, LSN(newest.lsn))]
        pages = np.unique(np.concatenate([np.array([1], np.int64), *found]))
        return pages[pages <= newest.page_count]


def encode_pages(snapshot: Snapshot, pages: Pages, cookie: int) -> bytes:
    """Return the payload with these ascending pages, which begin with page 1; page 1 gets the schema cookie."""
    newest_first = pages[::-1]
    snapshot.prefetch(newest_first.tolist())
    bodies = [bytes(snapshot.read(page)) for page in newest_first.tolist()]
    first = bytearray(bodies[-1])
    first[_COOKIE] = cookie.to_bytes(4, "big")
    return newest_first.astype("<u4").tobytes() + b"".join((*bodies[:-1], first))


def base_of(log: LogId) -> int:
    """Return the frame LSN before a log's first frame: 31 bits of the log's id, far from those of other logs."""
    return (xxhash.xxh3_64_intdigest(str(log).encode()) >> 33) << 32
