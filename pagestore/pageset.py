"""`PageSet`: an immutable, compressed set of page indexes.

It is a Roaring bitmap (Lemire et al., "Roaring Bitmaps: Implementation of an Optimized Software Library", 2018). Its
bytes are the portable Roaring format, https://github.com/RoaringBitmap/RoaringFormatSpec, in a canonical form.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Self, cast

import numpy as np
import numpy.typing as npt
from pyroaring import FrozenBitMap

from pagestore.errors import CorruptObject
from pagestore.objectstore import Data
from pagestore.pages import PAGE_IDX_MAX, PageIdx

RUNS_SHOWN_MAX = 6


class PageSet:
    """An immutable set of `PageIdx`; iterates in ascending order; safe to share between threads."""

    __slots__ = ("_pages",)

    _pages: FrozenBitMap

    def __init__(self) -> None:
        """Make the empty set; `of`, `range` and `decode` make others."""
        self._pages = FrozenBitMap()

    @classmethod
    def _wrap(cls, pages: FrozenBitMap) -> Self:
        made = cls.__new__(cls)
        made._pages = pages  # noqa: SLF001 - our own
        return made

    @classmethod
    def of(cls, pages: Iterable[PageIdx] | npt.NDArray[np.integer]) -> Self:
        """Make a set from page indexes in any order, with or without repetitions.

        A one-dimensional NumPy array is ten times as fast as other iterables. Raises `ValueError` unless all indexes
        are integers from 1 to `PAGE_IDX_MAX`.
        """
        given = pages if isinstance(pages, np.ndarray) else _integers(pages)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
            raise ValueError(
                f"page indexes must be integers in one dimension, not {given.dtype} of shape {given.shape}"
            )
        if not given.size:
            return cls()
        _check_bounds(int(given.min()), int(given.max()))
        return cls._wrap(FrozenBitMap(array("I", given.astype(np.uint32).tobytes())))

    @classmethod
    def range(cls, first: PageIdx, last: PageIdx) -> Self:
        """Make the set of the pages ``first`` to ``last`` inclusive; empty if ``last`` < ``first``."""
        if last < first:
            return cls()
        _check_bounds(first, last)
        return cls._wrap(FrozenBitMap(range(first, last + 1)))

    @property
    def first(self) -> PageIdx:
        """The lowest page; raises `ValueError` for the empty set."""
        return PageIdx(self._pages.min())

    @property
    def last(self) -> PageIdx:
        """The highest page; raises `ValueError` for the empty set."""
        return PageIdx(self._pages.max())

    def to_array(self) -> npt.NDArray[np.uint32]:
        """Return the pages in ascending order, four bytes each."""
        return np.frombuffer(self._pages.to_array(), dtype=np.uint32)

    def encode(self) -> bytes:
        """Return the set's bytes; equal sets have equal bytes. Needs four bytes per page of memory while it runs."""
        # A bitmap's containers depend on how it was made; making it anew from its values gives the canonical form.
        return FrozenBitMap(self._pages.to_array()).serialize()

    @classmethod
    def decode(cls, data: Data) -> Self:
        """Invert `encode`; raises `CorruptObject` for bytes that are not exactly one page set.

        Accepts any Roaring bitmap in the portable format, canonical or not.
        """
        raw = bytes(data)
        try:
            # An empty buffer is no bitmap; replaced by one byte, since the library reports it as another error.
            pages = FrozenBitMap.deserialize(raw or b"\0")
        except ValueError as error:
            raise CorruptObject(f"{len(raw)} bytes are not a page set: {error}") from error
        found = cls._wrap(pages)
        if pages and (found.first < 1 or found.last > PAGE_IDX_MAX):
            raise CorruptObject(f"a page set runs from {found.first} to {found.last}, outside 1 to {PAGE_IDX_MAX}")
        if pages.serialize() != raw:
            raise CorruptObject(f"{len(raw)} bytes hold more than a page set of {len(pages)} pages")
        return found

    def __contains__(self, page: PageIdx) -> bool:
        return 1 <= page <= PAGE_IDX_MAX and page in self._pages

    def __len__(self) -> int:
        return len(self._pages)

    def __iter__(self) -> Iterator[PageIdx]:
        return cast("Iterator[PageIdx]", iter(self._pages))

    def __or__(self, other: "PageSet") -> Self:
        return self._wrap(self._pages | other._pages)

    def __and__(self, other: "PageSet") -> Self:
        return self._wrap(self._pages & other._pages)

    def __sub__(self, other: "PageSet") -> Self:
        return self._wrap(self._pages - other._pages)

    def __eq__(self, other: object) -> bool:
        return self._pages == other._pages if isinstance(other, PageSet) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._pages)

    def __repr__(self) -> str:
        shown: list[str] = []
        start = 1
        while len(shown) < RUNS_SHOWN_MAX and (found := self._run_from(start)) is not None:
            first, last = found
            shown.append(str(first) if first == last else f"{first}-{last}")
            start = last + 1
        if self and start <= self.last:
            shown.append("…")
        return f"PageSet{{{','.join(shown)} ({len(self)} pages)}}" if shown else "PageSet{}"

    def _run_from(self, start: int) -> tuple[int, int] | None:
        """Return first and last page of the first run at or after ``start``; finds the end by bisection."""
        first = next(self._pages.iter_equal_or_larger(start), None)
        if first is None:
            return None
        stops = range(first + 1, self.last + 2)
        broken = bisect_left(stops, True, key=lambda stop: not self._pages.contains_range(first, stop))
        return first, first + broken - 1


def _integers(pages: Iterable[PageIdx]) -> npt.NDArray[np.uint32]:
    try:
        return np.frombuffer(array("I", pages), dtype=np.uint32)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"page indexes must be integers from 1 to {PAGE_IDX_MAX}: {error}") from error


def _check_bounds(first: int, last: int) -> None:
    if first < 1 or last > PAGE_IDX_MAX:
        raise ValueError(f"page indexes must be from 1 to {PAGE_IDX_MAX}, not {first} to {last}")
