"""Finds the bases of deltas locally: among the attached frames, or in the cache."""

import contextlib
from collections.abc import Sequence

from graft.cache.cache import Cache
from graft.errors import GraftError
from graft.pagemap.frame_table import UNKNOWN, FrameBody, FrameKey, FrameTable
from metastore.placement import OwnObject, SegmentRef
from pagestore.segments.delta import bodies_of
from pagestore.segments.fetch_plan import FrameLocation
from pagestore.segments.format import DecodedFrame


class CachedBases:
    """Delta bases from the cache (`pagestore.segments.delta_bases.Bases`), without a request to the remote."""

    def __init__(self, table: FrameTable, cache: Cache, page_size: int, *, trusts_table: bool = True) -> None:
        """Look up frames in ``table`` and ``cache``, and add frames to ``cache``.

        Unless ``trusts_table``, frames in cache files are verified again: a delta to a base that has rotted could never
        be decoded.
        """
        self._trusts_table = trusts_table
        self._table = table
        self._cache = cache
        self._page_size = page_size

    def get(self, place: FrameLocation, pages: Sequence[int]) -> bytes | None:
        """Return the bodies of these pages in a frame, None if any is missing; a cached frame may lack some."""
        body = self._body(place)
        return None if body is None else bodies_of(pages, body.pages.tolist(), body.data, self._page_size)

    def add(self, place: FrameLocation, frame: DecodedFrame) -> None:
        """Add a frame to the cache: a reader of a changed page usually reads its neighbours soon."""
        key = _key(place)
        with contextlib.suppress(GraftError):
            if not self._cache.has([key]):  # a cleaned frame does not get its dead pages back
                self._cache.put([(key, frame)])

    def _body(self, place: FrameLocation) -> FrameBody | None:
        number = int(self._table.numbers_of([(place.segment.raw, place.offset)])[0])
        body = self._table.body(number) if number != UNKNOWN else None
        if body is None or (body.file >= 0 and not self._trusts_table):
            body = None
            with contextlib.suppress(GraftError):
                return self._cache.get(_key(place))
        return body


def _key(place: FrameLocation) -> FrameKey:
    return FrameKey(SegmentRef(place.segment, OwnObject(place.dictionary_bytes)), place.offset, place.length)
