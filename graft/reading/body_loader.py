"""Loads page bodies on demand: from the cache, else from the remote.

Each frame is fetched once, however many threads want it (`graft.reading.single_flight`). A frame that a lookup fetched
alone is served from memory until it is written to the cache together with others (`graft.reading.write_behind`).
"""

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from graft.cache.cache import Cache
from graft.counters import ReplicaCounts
from graft.errors import GraftError
from graft.pagemap.frame_table import FrameBody, FrameKey, FrameTable
from graft.periodic import Housekeeper
from graft.reading.single_flight import SingleFlight
from graft.reading.write_behind import WriteBehind
from graft.remote.remote import Remote
from pagestore.parallel import Helpers
from pagestore.segments.fetch_plan import RangeRead
from pagestore.segments.format import DecodedFrame

_PATIENCE_S = 0.5
"""How long to wait for a frame that another thread is fetching."""
_ENDING_S_MAX = 5.0
"""How long an ending process waits for background fetches."""
_BATCH_BYTES = 4 * 1024 * 1024
_BACKGROUND_BATCH_BYTES = 1024 * 1024
"""Background fetches hand frames over in batches of this size: a reader may wait for the first of them."""
_BACKGROUND_MAX = 16
"""Most background fetches at once; one reader has two at most."""


class BodyLoader:
    """Attaches bodies to the frame table; safe for threads."""

    def __init__(
        self,
        table: FrameTable,
        cache: Cache,
        remote: Remote,
        page_size: int,
        counts: ReplicaCounts,
        housekeeper: Housekeeper,
    ) -> None:
        """Fill ``table`` through ``cache`` from ``remote``, and count the fetches in ``counts``.

        The ``housekeeper`` calls `evict` every second; it starts with the first body and is closed with this loader.
        """
        self.table = table
        self.counts = counts
        self.cache = cache
        self._remote = remote
        self._page_size = page_size
        self._guessed: set[int] = set()
        """Frames that were fetched ahead from the remote and not requested yet."""
        self._flight = SingleFlight()
        self._coming_lock = threading.Lock()  # guards the table's `coming`
        self._helpers = Helpers(_BACKGROUND_MAX)
        self._behind = WriteBehind(table, cache, lambda number, body: self._take(number, body, ()))
        self._housekeeper = housekeeper

    def attach(
        self,
        numbers: Iterable[int],
        ahead: Collection[int] = (),
        *,
        sparse: bool = False,
        uncached: Collection[int] = (),
        on_fetched: Callable[[int], None] | None = None,
    ) -> tuple[int, int]:
        """Attach frames by number; return how many came from the remote, and their pages.

        Those that are also ``ahead`` are fetched too, but attached only when a reader requests them; if ``sparse``,
        bytes between them are not fetched. Frames in ``uncached`` are known to be absent from the cache. Frames that
        another thread is fetching are waited for, not fetched again; that thread hands over each as soon as it arrives.
        ``on_fetched`` is called with the stored bytes of frames that came from the remote.
        """
        guessed = set(ahead)
        wanted = [number for number in dict.fromkeys(numbers) if not self._is_here(number, asked=number not in guessed)]
        mine = self._flight.claim(wanted)
        fetched = 0, 0
        try:
            if mine:
                fetched = self._load(mine, guessed, sparse=sparse, uncached=uncached, on_fetched=on_fetched)
        finally:
            self._flight.release(mine)
        for number in wanted:
            if number not in mine and number not in guessed:
                self._wait_for(number)
        return fetched

    def attach_later(self, numbers: Sequence[int], on_done: Callable[[], None]) -> bool:
        """Begin to fetch frames in the background; they are attached when a reader requests them.

        Calls ``on_done`` when all are here. Returns whether the fetch was begun. If it fails, a reader that requests
        one of the frames fetches it again and gets the error.
        """
        mine = self._flight.claim(numbers)
        self._flight.background_begins()
        with self._coming_lock:
            self.table.coming |= mine
        begun = self._helpers.try_run(lambda: self._attach_later(mine, numbers, on_done))
        if not begun:
            self._later_ended(mine)
        return begun

    def wait_for_background(self) -> None:
        """Wait for all background fetches."""
        self._flight.wait_for_background()

    def attach_cached(self, numbers: Iterable[int]) -> None:
        """Attach the frames that the cache has; makes no request to the remote."""
        for number in numbers:
            if self.table.bodies[number] is None:
                body = self._cached(self.table.key(number))
                if body is not None:
                    self._take(number, body, ())

    def recheck(self, numbers: Iterable[int]) -> None:
        """Detach the frames whose bytes in the cache file no longer match their checksum.

        A caller that gives the bodies new checksums must call this first: otherwise the new checksums would cover
        rotted bytes. Detached frames are fetched again when they are read.
        """
        for number in numbers:
            body = self.table.body(number)
            if body is not None and body.file >= 0 and self._cached(self.table.key(number)) is None:
                self.table.detach(body.file)

    def attach_whole(self, number: int) -> FrameBody:
        """Fetch a frame of which the cache has only some pages, attach it and return it."""
        self._flight.wait_for(number, _PATIENCE_S)
        while (body := self.table.bodies[number]) is None or not body.whole:
            mine = self._flight.claim([number])
            try:
                self._fetch({self.table.key(number): number}, ())
            finally:
                self._flight.release(mine)
        return body

    def put(self, frames: Iterable[tuple[FrameKey, DecodedFrame]]) -> None:
        """Put frames that were not fetched (inline, or pushed from here) into the cache, unless that fails."""
        self._housekeeper.begin()
        for batch in self._batches_of(frames):
            with contextlib.suppress(GraftError):
                self.cache.put(batch)

    def flush(self) -> None:
        """Write all fetched frames to the cache, unless that fails."""
        self._behind.flush()

    def cached(self, keys: Iterable[FrameKey]) -> set[FrameKey]:
        """Return which of the frames are in the cache, after `flush`; raises the cache's errors."""
        self.flush()
        return self.cache.has(keys)

    def evict(self) -> None:
        """Evict frames until the cache fits its budget, and unmap files that other processes gave up."""
        self.flush()
        with contextlib.suppress(GraftError):
            self.cache.evict()

    def _is_here(self, number: int, *, asked: bool) -> bool:
        """Return whether a body is here; if ``asked``, attach one that was fetched ahead."""
        if not asked:
            return self.table.body(number) is not None
        if self.table.request(number) and number in self._guessed:
            self._guessed.discard(number)
            self.counts.add(ahead_used_frames=1, ahead_used_bytes=self.table.key(number).length)
        return self.table.bodies[number] is not None

    def _attach_later(self, mine: set[int], numbers: Sequence[int], on_done: Callable[[], None]) -> None:
        try:
            self._load([number for number in numbers if number in mine], mine, waits=False)
            on_done()
        except Exception:  # noqa: BLE001 - a failed guess; a reader that needs the frame fetches it again
            return
        finally:
            self._later_ended(mine)

    def _later_ended(self, mine: set[int]) -> None:
        with self._coming_lock:
            self.table.coming -= mine
        self._flight.release(mine)
        self._flight.background_ends()

    def _load(
        self,
        numbers: Iterable[int],
        guessed: Collection[int],
        *,
        sparse: bool = False,
        uncached: Collection[int] = (),
        waits: bool = True,
        on_fetched: Callable[[int], None] | None = None,
    ) -> tuple[int, int]:
        missing: dict[FrameKey, int] = {}
        keys = {number: self.table.key(number) for number in numbers}
        named = self._named([key for number, key in keys.items() if number not in uncached])
        for number, key in keys.items():
            body = self._cached(key) if key in named else None
            if body is None:
                missing[key] = number
            else:
                self._take(number, body, guessed)
        if not missing:
            return 0, 0
        return self._fetch(missing, guessed, sparse=sparse, waits=waits, on_fetched=on_fetched)

    def _fetch(
        self,
        missing: dict[FrameKey, int],
        guessed: Collection[int],
        *,
        sparse: bool = False,
        waits: bool = True,
        on_fetched: Callable[[int], None] | None = None,
    ) -> tuple[int, int]:
        if waits:
            self.counts.add(fetches=1)
            if len(missing) == 1 and not guessed:
                ((key, number),) = missing.items()
                pages = self._fetch_lone(key, number)
                if on_fetched:
                    on_fetched(key.length)
                return 1, pages
        pages = 0
        frames = self._remote.frames(
            list(missing), self._page_size, on_read=self._count_read, gap_bytes_max=0 if sparse else None
        )
        for batch in self._batches_of(frames, _BATCH_BYTES if waits else _BACKGROUND_BATCH_BYTES):
            self._count(batch, missing, guessed)
            self._put_attached(batch, missing, guessed)
            pages += sum(len(frame.pages) for _, frame in batch)
            if on_fetched:
                on_fetched(sum(key.length for key, _ in batch))
        return len(missing), pages

    def _fetch_lone(self, key: FrameKey, number: int) -> int:
        frame = self._remote.frame(key, self._page_size, self._count_read)
        self.counts.add(fetched_frames=1)
        self._housekeeper.begin()  # it flushes the frame to the cache soon
        self._behind.put(key, frame, number)
        return len(frame.pages)

    def _batches_of(
        self, frames: Iterable[tuple[FrameKey, DecodedFrame]], batch_bytes: int = _BATCH_BYTES
    ) -> Iterator[list[tuple[FrameKey, DecodedFrame]]]:
        size, batch = 0, []
        for key, frame in frames:
            batch.append((key, frame))
            size += len(frame.body)
            if size >= min(batch_bytes, self.cache.batch_bytes):
                yield batch
                size, batch = 0, []
        if batch:
            yield batch

    def _put_attached(
        self,
        batch: Sequence[tuple[FrameKey, DecodedFrame]],
        numbers: dict[FrameKey, int],
        guessed: Collection[int],
    ) -> None:
        try:
            bodies = self.cache.put(batch)
        except GraftError:
            self._behind.hold(batch, numbers)
            return
        for (key, _), body in zip(batch, bodies, strict=True):
            self._take(numbers[key], body, guessed)
        self._flight.release({numbers[key] for key, _ in batch})

    def _take(self, number: int, body: FrameBody, guessed: Collection[int]) -> None:
        self._housekeeper.begin()
        if number in guessed:
            self.table.attach_ahead(number, body)
        else:
            self.table.attach(number, body)
        if not self.cache.maps(body.file):  # evicted before it was attached
            self.table.detach(body.file)

    def _count(
        self,
        batch: Sequence[tuple[FrameKey, DecodedFrame]],
        numbers: dict[FrameKey, int],
        guessed: Collection[int],
    ) -> None:
        self._guessed.update(numbers[key] for key, _ in batch if numbers[key] in guessed)
        ahead = [key.length for key, _ in batch if numbers[key] in guessed]
        self.counts.add(
            fetched_frames=len(batch), ahead_frames=len(ahead), ahead_bytes=sum(ahead)
        )  # fmt: skip

    def _count_read(self, read: RangeRead) -> None:
        self.counts.add(fetched_bytes=read.length - read.gap_bytes, gap_bytes=read.gap_bytes)

    def disown(self) -> None:
        """In the child of a fork: replace the locks, which threads of the parent may have held."""
        self._flight, self._coming_lock = SingleFlight(), threading.Lock()
        self._helpers = Helpers(0)  # a child fetches nothing in the background
        self._behind.disown()
        self.table.disown()
        self.cache.disown()

    def stop_threads(self) -> None:
        """End the background threads; later fetches run in the threads that request them."""
        self._helpers.end(_ENDING_S_MAX)
        self._housekeeper.close()
        self.flush()

    def close(self) -> None:
        """Wait for all background fetches, flush to the cache, and end the threads."""
        self._helpers.close()
        self.wait_for_background()
        self.flush()
        self._housekeeper.close()

    def _named(self, keys: Collection[FrameKey]) -> Collection[FrameKey]:
        """Return the frames that the cache may have; for several frames one query finds those that it lacks."""
        if len(keys) < 2:
            return keys
        try:
            return self.cache.has(keys)
        except GraftError:
            return ()

    def _cached(self, key: FrameKey) -> FrameBody | None:
        try:
            return None if self.cache.lacks(key) else self.cache.get(key)
        except GraftError:
            return None

    def _wait_for(self, number: int) -> None:
        if number in self.table.coming and self._flight.is_in_flight(number):
            self.counts.add(ahead_late=1)
        ended = self._flight.wait_for(number, _PATIENCE_S)
        if self._is_here(number, asked=True):
            return
        if not ended:
            self._load([number], ())  # the other thread may be waiting for another object
        else:
            self.attach([number])  # the other thread failed, or the frame was evicted at once: this raises the error
