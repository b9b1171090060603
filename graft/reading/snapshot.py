"""A snapshot: one immutable version of a volume."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from graft.errors import Corrupt, GraftError
from graft.pagemap.chunks import CHUNK_MASK, CHUNK_SHIFT, MapChunk
from graft.pagemap.frame_table import FrameBody
from graft.pagemap.locations import FRAME_TAG, JOURNAL_TAG, OFFSET_BITS, OFFSET_MASK, SLOT_MASK, frame_of
from graft.pagemap.page_map import PageMap
from metastore.ids import LogId
from metastore.lsn import LSN
from metastore.placement import InCommit
from pagestore.pages import page_count_of


class BodySource(Protocol):
    """Loads the frames that a snapshot's map names."""

    def attach(
        self,
        numbers: Iterable[int],
        ahead: Collection[int] = (),
        *,
        sparse: bool = False,
        uncached: Collection[int] = (),
    ) -> object:
        """Attach frames to the frame table by number, from the cache or the remote.

        Those ``ahead`` are fetched too, but attached only when a reader requests them. If they are ``sparse``, bytes
        between them are not fetched. Those ``uncached`` are known to be absent from the cache.
        """
        ...

    def attach_later(self, numbers: Sequence[int], on_done: Callable[[], None]) -> bool:
        """Begin to fetch frames in another thread; return False if no thread is free.

        The frames are attached when a reader requests them. ``on_done`` is called in the thread when they are here.
        """
        ...

    def attach_cached(self, numbers: Iterable[int]) -> None:
        """Attach the frames that the cache has."""
        ...

    def attach_whole(self, number: int) -> FrameBody:
        """Fetch, attach and return a frame with all its pages, of which the attached body may lack some."""
        ...


class Advisor(Protocol):
    """A reader's guess at what it will read next; used by one thread at a time."""

    @property
    def sparse(self) -> bool:
        """Whether the reader goes in strides, so that bytes between the frames planned last are not wanted."""
        ...

    def plan(self, snapshot: "Snapshot", page: int, frame: int) -> list[int]:
        """Return the frames to fetch for a miss on ``page``: its own ``frame`` first, then those to read ahead."""
        ...

    def used(self, snapshot: "Snapshot", page: int, frame: int) -> list[int]:
        """Note that a frame that was fetched ahead is read for the first time; return frames to fetch meanwhile."""
        ...

    def fetching(self, frames: Sequence[int]) -> None:
        """Note that the frames that `used` returned are being fetched."""
        ...

    def arrived(self, snapshot: "Snapshot", frames: Sequence[int]) -> None:
        """Note that frames were fetched; called from any thread, also while another method runs."""
        ...


class Snapshot:
    """An immutable view of a volume: its remote commits up to `lsn` and local ones up to `local_lsn`.

    Threads may share it. It stays readable whatever is written, pulled or pushed meanwhile.
    """

    __slots__ = (
        "_chunks", "_source", "_zeros", "byte_size", "content_version", "history", "journal_views", "local_commits",
        "local_lsn", "lsn", "native", "page_count", "page_map", "page_size", "read_only", "volume_name",
    )  # fmt: skip

    def __init__(
        self,
        page_map: PageMap,
        source: BodySource,
        journal_views: Mapping[int, memoryview],
        *,
        volume_name: str,
        page_size: int,
        byte_size: int,
        lsn: int,
        local_lsn: int,
        local_commits: int,
        content_version: int,
        history: int = 0,
        read_only: bool = False,
    ) -> None:
        """Made by a replica."""
        self.page_map = page_map
        self.volume_name = volume_name
        self.page_size = page_size
        self.byte_size = byte_size
        self.page_count = page_count_of(byte_size, page_size)
        self.lsn = lsn
        self.local_lsn = local_lsn
        self.local_commits = local_commits
        """Number of commits in it that the remote lacks."""
        self.content_version = content_version
        """Equal for two snapshots of one replica object only if their contents are equal; one more for each change."""
        self.history = history
        """Equal for two snapshots of one replica object only if the newer one continues the older one."""
        self.read_only = read_only
        """Whether this is a version of the past, on which no transaction can build."""
        self._chunks: Sequence[MapChunk] = page_map.chunks if page_map.read else ()
        """The chunks of `page_map`; empty until it is first read."""
        self._source = source
        self.journal_views = journal_views
        """The mapped journal files by number; never changed."""
        self.native: object | None = None
        """What an accelerator derived from this snapshot."""
        self._zeros = bytes(page_size)

    def followed_by(
        self,
        page_map: PageMap,
        journal_views: Mapping[int, memoryview],
        byte_size: int,
        local_lsn: int,
        commits: int,
        content_changed: bool,
    ) -> "Snapshot":
        """Return the version after ``commits`` more local commits, the newest of which is ``local_lsn``."""
        return Snapshot(
            page_map, self._source, journal_views, volume_name=self.volume_name, page_size=self.page_size,
            byte_size=byte_size, lsn=self.lsn, local_lsn=local_lsn, local_commits=self.local_commits + commits,
            content_version=self.content_version + content_changed, history=self.history,
        )  # fmt: skip

    def read(self, page: int, advisor: Advisor | None = None) -> bytes | memoryview:
        """Return the page's bytes, exactly one page; zeros if it has no body or lies beyond the end.

        A miss also fetches the frames that ``advisor`` plans. Raises `RemoteUnavailable`, `RemoteRefused` or `Corrupt`
        if the body has to be fetched and cannot be.
        """
        index = page - 1
        number = index >> CHUNK_SHIFT
        if not 0 <= number < len(self._chunks):
            return self.read(page, advisor) if self._becomes_read(page) else self._zeros
        view = self._chunks[number].view
        location = view[index & CHUNK_MASK] if view is not None else self._located(page)
        if location & FRAME_TAG:
            body = self.page_map.table.bodies[frame_of(location)]
            slot = location & SLOT_MASK
            if body is None:
                body = self._fetched(page, location, advisor)
            if slot >= len(body.pages) or body.pages[slot] != page:
                if not body.lacks(slot):
                    raise self.misplaced(page, location)
                body = self._fetched(page, location, advisor)
            start = slot * self.page_size
            return body.data[start : start + self.page_size]
        if location & JOURNAL_TAG:
            start = location & OFFSET_MASK
            return self.journal_views[(location & ~JOURNAL_TAG) >> OFFSET_BITS][start : start + self.page_size]
        return self._zeros

    def read_all(self, pages: Iterable[int]) -> list[bytes | memoryview]:
        """Return the bytes of each page as `read` does."""
        return [self.read(page) for page in pages]

    def prefetch(self, pages: Iterable[int]) -> None:
        """Fetch the missing ones of these pages together, so that reading them needs no request."""
        located = [self._located(page) for page in pages]
        numbers = {frame_of(location) for location in located if location & FRAME_TAG}
        try:
            self._source.attach(number for number in sorted(numbers) if self.page_map.table.bodies[number] is None)
        except GraftError as error:
            raise type(error)(f"{self.describe()}: {error}") from error

    def peek(self, page: int) -> bytes | memoryview | None:
        """Return the page's bytes if they are here, else None; makes no request to the remote."""
        if self._absent_frame(page) is not None:
            return None
        body = self._ahead(page)
        return self.read(page) if body is None else body

    def missing_frame(self, page: int) -> int | None:
        """Return the frame that must be fetched for a page; None if it is here, being fetched, or not known yet."""
        frame = self._absent_frame(page)
        return None if frame in self.page_map.table.coming else frame

    def small_object(self, frame: int) -> tuple[LogId, LSN] | None:
        """Return the commit that a frame lies in, None for one that lies in a segment object."""
        home = self.page_map.table.key(frame).ref.home
        return (home.log, home.lsn) if isinstance(home, InCommit) else None

    def _absent_frame(self, page: int) -> int | None:
        location = self._built_location(page)
        if not location & FRAME_TAG:
            return None
        body = self.page_map.table.body(frame_of(location))
        return frame_of(location) if body is None or body.lacks(location & SLOT_MASK) else None

    def _ahead(self, page: int) -> memoryview | None:
        """Return the page's bytes if they are in a frame that was fetched ahead and not requested yet, else None."""
        location = self._built_location(page)
        body = self.page_map.table.ahead.get(frame_of(location)) if location & FRAME_TAG else None
        slot = location & SLOT_MASK
        if body is None or body.lacks(slot):
            return None
        start = slot * self.page_size
        return body.data[start : start + self.page_size]

    def describe(self) -> str:
        """Return the name of this version for messages."""
        local = f" + {self.local_commits} local commits" if self.local_commits else ""
        return f"volume {self.volume_name} at LSN {self.lsn}{local}"

    def misplaced(self, page: int, location: int) -> GraftError:
        """Return the error for a frame that does not hold a page at the slot that the map names."""
        key = self.page_map.table.key(frame_of(location))
        return Corrupt(
            f"{self.describe()}, page {page}: the frame at {key.offset} of segment {key.ref.segment} does not hold it"
        )

    def _built_location(self, page: int) -> int:
        """Return a page's location; 0 if it has no body, or if its chunk of the map is not built yet."""
        number = (page - 1) >> CHUNK_SHIFT
        if not 0 <= number < len(self._chunks) and not self._becomes_read(page):
            return 0
        view = self._chunks[number].view
        return view[(page - 1) & CHUNK_MASK] if view is not None else 0

    def _becomes_read(self, page: int) -> bool:
        """Read the map's chunks for the first time; return whether they may have a location for ``page``."""
        if self._chunks or not 1 <= page <= self.page_count:
            return False
        try:
            self._chunks = self.page_map.chunks
        except GraftError as error:
            raise type(error)(f"{self.describe()}, page {page}: {error}") from error
        return True

    def _fetch_further(self, frames: Sequence[int], advisor: Advisor) -> None:
        if frames and self._source.attach_later(frames, lambda: advisor.arrived(self, frames)):
            advisor.fetching(frames)

    def _is_cached(self, frame: int) -> bool:
        """Attach a frame if the cache has it; return whether it is attached."""
        self._source.attach_cached([frame])
        return self.page_map.table.bodies[frame] is not None

    def _located(self, page: int) -> int:
        try:
            return self.page_map.location(page)
        except GraftError as error:
            raise type(error)(f"{self.describe()}, page {page}: {error}") from error

    def _fetched(self, page: int, location: int, advisor: Advisor | None) -> FrameBody:
        frame, bodies = frame_of(location), self.page_map.table.bodies
        planned: list[int] = []
        uncached: Sequence[int] = ()
        if advisor is not None and self.page_map.table.is_ahead(frame):
            self._fetch_further(advisor.used(self, page, frame), advisor)
        elif advisor is not None and self._is_cached(frame):
            planned = [frame]  # without a request to wait for, nothing is read ahead
        elif advisor is not None:
            planned, uncached = advisor.plan(self, page, frame), [frame]
            if len(planned) > 1:
                # The other frames are a guess: if they cannot be fetched, this page may still be readable.
                with contextlib.suppress(GraftError):
                    self._source.attach(planned, planned[1:], sparse=advisor.sparse, uncached=uncached)
        try:
            while (body := bodies[frame]) is None:
                self._source.attach([frame], uncached=uncached)
                uncached = ()
            if body.lacks(location & SLOT_MASK):
                body = self._source.attach_whole(frame)
        except GraftError as error:
            raise type(error)(f"{self.describe()}, page {page}: {error}") from error
        if advisor is not None and planned:
            advisor.arrived(self, planned)
        return body
