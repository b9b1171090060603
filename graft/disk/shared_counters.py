"""Counters in one mapped page that all processes on a replica share: "did anything change?" costs about 100 ns.

    0  magic u64 · 8  state generation u64 · 16  published local LSN u64 · 24  append in progress u64
    32  state in doubt u64
    40  confirmed, monotonic µs u64 · 48  confirmed, wall clock µs u64 · 56  polled, monotonic µs u64
    64  boot number u64 · 72  witness u64 · 80  endpoint u64

The first process to open the directory sets the words up to offset 32 from the state and the journal, so they need not
survive a crash of the machine. They only grow while any process has them open. The boot number shows whether they
survived: if it is that of the current boot, every published local commit was written. The times of polls, the witness
and the endpoint are left as they are, so that the next process knows how fresh the replica is and what was checked. If
they are lost, the replica appears older than it is, and is checked again. Aligned 8-byte stores are atomic on every
supported platform.
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
        """Return whether this moment is the same as another one or later, by both clocks."""
        return self.monotonic_us >= other.monotonic_us and self.wall_us >= other.wall_us


_DISOWNED = Moment(2**64 - 1, 2**64 - 1)


class SharedCounters:
    """The mapped counters; a writer holds the lock that guards what it announces."""

    def __init__(self, path: Path, *, alone: bool = True) -> None:
        """Map the file at ``path``; a process that is ``alone`` creates it if absent.

        Raises `ReplicaMoved` if other processes have the replica open and the file is absent or new: theirs was
        deleted.
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
        """For the fast path; readers compare words 1 and 2."""
        if self.words[0] not in {0, _MAGIC}:
            raise Unsupported(
                f"{path} was made by another version of graft; upgrade, or close the replica everywhere and remove it"
            )
        if not alone and not self.words[0]:
            raise ReplicaMoved(
                f"{path} was deleted while other processes have the replica open, so this process cannot join them: "
                "close the replica in all of them, and open it again"
            )
        self.words[0] = _MAGIC

    @property
    def state_generation(self) -> int:
        """Grows with each change of the state (sync point, log)."""
        return self.words[GENERATION]

    @property
    def published_local_lsn(self) -> int:
        """The newest local commit that readers may see."""
        return self.words[LOCAL_LSN]

    def published_since(self, boot_number: int) -> int:
        """Return the newest local commit that was published since the machine booted; 0 if unknown."""
        return self.words[LOCAL_LSN] if boot_number and self.words[_BOOT] == boot_number else 0

    def begin_boot(self, boot_number: int) -> None:
        """Note that commits published from now on are known until the machine stops."""
        self.words[_BOOT] = boot_number

    def match(self, state_generation: int, published_local_lsn: int) -> bool:
        """Return whether these are the newest values, and nothing is in progress or in doubt."""
        words = self.words
        return (
            words[GENERATION] == state_generation
            and words[LOCAL_LSN] == published_local_lsn
            and not words[APPENDING]
            and not words[IN_DOUBT]
        )

    def announce_state(self) -> None:
        """Announce a change of the state; the caller holds the sync lock."""
        self.words[GENERATION] += 1
        self.words[IN_DOUBT] = 0

    def begin_state(self) -> None:
        """Note that the state is about to change: if this process dies now, the change stays unannounced."""
        self.words[IN_DOUBT] = 1

    @property
    def state_in_doubt(self) -> bool:
        """Whether a change of the state was begun and not announced."""
        return self.words[IN_DOUBT] != 0

    def announce_commit(self, local_lsn: int) -> None:
        """Announce a local commit, which ends the append."""
        self.words[LOCAL_LSN] = local_lsn
        self.words[APPENDING] = 0

    def begin_append(self) -> None:
        """Note that an append begins: if this process dies now, the next writer searches for an unpublished commit."""
        self.words[APPENDING] = 1

    def end_append(self) -> None:
        """Note that no append is in progress."""
        self.words[APPENDING] = 0

    @property
    def append_in_progress(self) -> bool:
        """Whether a writer began an append that was neither published nor taken back."""
        return self.words[APPENDING] != 0

    @property
    def confirmed(self) -> Moment | None:
        """When the replica was last known to have all that the remote had; None if that is not known."""
        moment = Moment(self.words[_CONFIRMED_MONOTONIC], self.words[_CONFIRMED_WALL])
        return moment if moment.monotonic_us and moment.wall_us and moment != _DISOWNED else None

    def confirm(self, moment: Moment, now: Moment) -> None:
        """Store a moment at which the replica had all that the remote had, unless a later one is stored.

        A stored moment does not count if it lies ahead of ``now`` by either clock: then that clock was set back, or the
        machine was rebooted.
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
        """When a process last began to poll the remote, by the monotonic clock; 0 if that is not known."""
        return self.words[_LOOKED]

    def begin_poll(self, moment: Moment) -> None:
        """Note that this process polls the remote; the caller holds the sync lock."""
        self.words[_LOOKED] = max(moment.monotonic_us, 0)

    @property
    def witness(self) -> int:
        """Digest of the newest commit that was compared with the remote's copy, and of its ETag; 0 for none."""
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
        """In the child of a fork: detach from the counters, which then read as if everything had changed."""
        self.words = memoryview(bytearray(b"\xff" * _BYTES)).cast("Q")

    def close(self) -> None:
        """Unmap the file, unless a connection that was not closed yet still reads the words."""
        with suppress(BufferError):
            self.words.release()
            self._map.close()
