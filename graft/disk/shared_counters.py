"""Counters that all processes on a replica share through one mapped page: the ~100 ns answer to "did anything change?".

    0  magic u64 · 8  state generation u64 · 16  published local LSN u64 · 24  append in progress u64
    32  state in doubt u64
    40  confirmed, monotonic µs u64 · 48  confirmed, wall clock µs u64 · 56  looked, monotonic µs u64
    64  boot number u64 · 72  witness u64 · 80  endpoint u64

The first process to open the directory sets those up to the doubt from the state and the journal, so that their values
need not survive a crash of the machine; they only ever grow while anybody has them open. The boot number says whether
they survived one: while it is the machine's, every local commit that was ever published was written. The moments of
looks at the remote, the witness and the endpoint are left as they are found, for the next process to know how fresh the
replica is and what was checked; where they are lost, it looks older than it is, and is checked again. Aligned 8-byte
stores are atomic on every platform we run on.
"""

import mmap
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from graft.errors import ReplicaMoved, Unsupported, local_errors
from pagestore.ownership import create

_MAGIC = int.from_bytes(b"grftshr1", "little")
_BYTES = 4096
GENERATION, LOCAL_LSN, APPENDING, IN_DOUBT = 1, 2, 3, 4
"""The words that the accelerator reads and writes too."""
_CONFIRMED_MONOTONIC, _CONFIRMED_WALL, _LOOKED, _BOOT = 5, 6, 7, 8


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time by both clocks of this machine, in microseconds."""

    monotonic_us: int
    """Since the machine was started, on most systems."""
    wall_us: int
    """Since the Unix epoch."""

    def is_not_before(self, other: "Moment") -> bool:
        """Tell whether both clocks say that this is the same moment as another one, or a later one."""
        return self.monotonic_us >= other.monotonic_us and self.wall_us >= other.wall_us


_DISOWNED = Moment(2**64 - 1, 2**64 - 1)


class SharedCounters:
    """The mapped counters; writers hold the lock that guards what they announce."""

    def __init__(self, path: Path, *, alone: bool = True) -> None:
        """Map the file at ``path``, created if absent by one who is ``alone``.

        Raises `ReplicaMoved` where others have the replica open, and yet it is not there, or new: theirs was deleted.
        """
        with local_errors(f"mapping {path}"):
            descriptor = create(path, os.O_RDWR)
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
        if not alone and not self.words[0]:
            raise ReplicaMoved(
                f"{path} was deleted while other processes have the replica open, which cannot be joined now: close it "
                "in all of them, and open it again"
            )
        self.words[0] = _MAGIC

    @property
    def state_generation(self) -> int:
        """Grows whenever the state (sync point, log) has changed."""
        return self.words[GENERATION]

    @property
    def published_local_lsn(self) -> int:
        """The newest local commit that readers may see."""
        return self.words[LOCAL_LSN]

    def published_since(self, boot_number: int) -> int:
        """Return the newest local commit that was published while the machine ran as it does now; 0 if unknown."""
        return self.words[LOCAL_LSN] if boot_number and self.words[_BOOT] == boot_number else 0

    def begin_boot(self, boot_number: int) -> None:
        """Note that what is published from here on is known for as long as the machine runs."""
        self.words[_BOOT] = boot_number

    def match(self, state_generation: int, published_local_lsn: int) -> bool:
        """Tell whether these are the newest, and nothing is in progress or in doubt."""
        words = self.words
        return (
            words[GENERATION] == state_generation
            and words[LOCAL_LSN] == published_local_lsn
            and not words[APPENDING]
            and not words[IN_DOUBT]
        )

    def announce_state(self) -> None:
        """Tell others that the state has changed; the caller holds the sync lock."""
        self.words[GENERATION] += 1
        self.words[IN_DOUBT] = 0

    def begin_state(self) -> None:
        """Note that the state is about to change: one who dies now leaves a change that nobody was told of."""
        self.words[IN_DOUBT] = 1

    @property
    def state_in_doubt(self) -> bool:
        """Whether a change of the state was begun and not announced."""
        return self.words[IN_DOUBT] != 0

    def announce_commit(self, local_lsn: int) -> None:
        """Tell others of a local commit, with which an append has ended."""
        self.words[LOCAL_LSN] = local_lsn
        self.words[APPENDING] = 0

    def begin_append(self) -> None:
        """Note that a commit, or a file for one, is on its way: one who dies now leaves it for the next to find."""
        self.words[APPENDING] = 1

    def end_append(self) -> None:
        """Note that nothing is on its way any more."""
        self.words[APPENDING] = 0

    @property
    def append_in_progress(self) -> bool:
        """Whether a writer began an append and neither published nor took it back."""
        return self.words[APPENDING] != 0

    @property
    def confirmed(self) -> Moment | None:
        """When the replica was last known to have all that the remote had; None if that is not known."""
        moment = Moment(self.words[_CONFIRMED_MONOTONIC], self.words[_CONFIRMED_WALL])
        return moment if moment.monotonic_us and moment.wall_us and moment != _DISOWNED else None

    def confirm(self, moment: Moment, now: Moment) -> None:
        """Note a moment at which the replica had all that the remote had, if no later one is noted.

        What is noted does not count if either clock says that it lies ahead of ``now``: that clock was set back, or
        the machine was started anew.
        """
        noted = Moment(self.words[_CONFIRMED_MONOTONIC], self.words[_CONFIRMED_WALL])
        if (
            moment.monotonic_us <= 0
            or moment.wall_us <= 0
            or (noted.is_not_before(moment) and now.is_not_before(noted))
        ):
            return
        self.words[_CONFIRMED_MONOTONIC], self.words[_CONFIRMED_WALL] = moment.monotonic_us, moment.wall_us

    @property
    def polled_us(self) -> int:
        """When somebody last began to look at the remote, by the monotonic clock; 0 if that is not known."""
        return self.words[_LOOKED]

    def begin_poll(self, moment: Moment) -> None:
        """Note that somebody looks at the remote; the caller holds the sync lock."""
        self.words[_LOOKED] = max(moment.monotonic_us, 0)

    @property
    def witness(self) -> int:
        """Digest of the newest commit that was compared with the remote's, and of its ETag; 0 for none."""
        return self.words[9]

    @witness.setter
    def witness(self, digest: int) -> None:
        self.words[9] = digest

    @property
    def endpoint(self) -> int:
        """Digest of the remote that was found to honour conditional writes; 0 for none."""
        return self.words[10]

    @endpoint.setter
    def endpoint(self, digest: int) -> None:
        self.words[10] = digest

    def disown(self) -> None:
        """See nothing of the counters any more but that everything has changed."""
        self.words = memoryview(bytearray(b"\xff" * _BYTES)).cast("Q")

    def close(self) -> None:
        """Unmap, or leave that to whoever still reads the words: a connection that the collector has yet to close."""
        with suppress(BufferError):
            self.words.release()
            self._map.close()
