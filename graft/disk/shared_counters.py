"""Counters that all processes on a replica share through one mapped page: the ~100 ns answer to "did anything change?".

    0  magic u64 · 8  state generation u64 · 16  published local LSN u64 · 24  append in progress u64
    32  state in doubt u64
    40  confirmed, monotonic µs u64 · 48  confirmed, wall clock µs u64 · 56  looked, monotonic µs u64

The first process to open the directory sets those up to the doubt from the state and the journal, so that their values
need not survive a crash; they only ever grow while anybody has them open. The moments of looks at the remote are left
as they are found, for the next process to know how fresh the replica is; where they are lost, it looks older than it
is. Aligned 8-byte stores are atomic on every platform we run on.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from graft.errors import Unsupported, local_errors

_MAGIC = int.from_bytes(b"grftshr1", "little")
_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time by both clocks of this machine, in microseconds."""

    monotonic_us: int
    """Since the machine was started, on most systems."""
    wall_us: int
    """Since the Unix epoch."""


_DISOWNED = Moment(2**64 - 1, 2**64 - 1)


class SharedCounters:
    """The mapped counters; writers hold the lock that guards what they announce."""

    def __init__(self, path: Path) -> None:
        """Map the file at ``path``, created if absent."""
        with local_errors(f"mapping {path}"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if os.fstat(descriptor).st_size < _BYTES:
                    os.ftruncate(descriptor, _BYTES)
                self._map = mmap.mmap(descriptor, _BYTES)
            finally:
                os.close(descriptor)
        self.words = memoryview(self._map).cast("Q")
        """Words 1 and 2 are what readers compare; for the fast path."""
        if self.words[0] not in {0, _MAGIC}:
            raise Unsupported(
                f"{path} was made by another version of graft; upgrade, or remove it while nobody uses it"
            )
        self.words[0] = _MAGIC

    @property
    def state_generation(self) -> int:
        """Grows whenever the state (sync point, log) has changed."""
        return self.words[1]

    @property
    def published_local_lsn(self) -> int:
        """The newest local commit that readers may see."""
        return self.words[2]

    def say_only(self, state_generation: int, published_local_lsn: int) -> bool:
        """Tell whether these are the newest, and nothing is in progress or in doubt."""
        words = self.words
        return words[1] == state_generation and words[2] == published_local_lsn and not words[3] and not words[4]

    def announce_state(self) -> None:
        """Tell others that the state has changed; the caller holds the sync lock."""
        self.words[1] += 1
        self.words[4] = 0

    def begin_state(self) -> None:
        """Note that the state is about to change: one who dies now leaves a change that nobody was told of."""
        self.words[4] = 1

    @property
    def state_in_doubt(self) -> bool:
        """Whether a change of the state was begun and not announced."""
        return self.words[4] != 0

    def announce_commit(self, local_lsn: int) -> None:
        """Tell others of a local commit, with which an append has ended."""
        self.words[2] = local_lsn
        self.words[3] = 0

    def begin_append(self) -> None:
        """Note that a commit, or a file for one, is on its way: one who dies now leaves it for the next to find."""
        self.words[3] = 1

    def end_append(self) -> None:
        """Note that nothing is on its way any more."""
        self.words[3] = 0

    @property
    def append_in_progress(self) -> bool:
        """Whether a writer began an append and neither published nor took it back."""
        return self.words[3] != 0

    @property
    def confirmed(self) -> Moment | None:
        """When the replica was last known to have all that the remote had; None if that is not known."""
        moment = Moment(self.words[5], self.words[6])
        return moment if moment.monotonic_us and moment.wall_us and moment != _DISOWNED else None

    def confirm(self, moment: Moment) -> None:
        """Note a moment at which the replica had all that the remote had, if none is later."""
        if moment.monotonic_us > 0 and moment.wall_us > 0 and not (self._is_later(moment)):
            self.words[5], self.words[6] = moment.monotonic_us, moment.wall_us

    def _is_later(self, moment: Moment) -> bool:
        """Whether what is noted is later than a moment, by both clocks; else one of them was set back."""
        return self.words[5] >= moment.monotonic_us and self.words[6] >= moment.wall_us

    @property
    def looked_us(self) -> int:
        """When somebody last began to look at the remote, by the monotonic clock; 0 if that is not known."""
        return self.words[7]

    def looking(self, moment: Moment) -> None:
        """Note that somebody looks at the remote; the caller holds the sync lock."""
        self.words[7] = max(moment.monotonic_us, 0)

    def disown(self) -> None:
        """See nothing of the counters any more but that everything has changed."""
        self.words = memoryview(bytearray(b"\xff" * _BYTES)).cast("Q")

    def close(self) -> None:
        """Unmap."""
        self.words.release()
        self._map.close()
