"""How far the writing of segments is, in bytes of pages."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and what there is in all, in one unit."""


class WrittenBytes:
    """A watcher of segments that reports the bytes of the pages that were framed, each page once."""

    def __init__(self, report: Progress, pages: int, page_size: int) -> None:
        """Report up to the bytes of so many pages."""
        self._report = report
        self._page_size = page_size
        self._total = pages * page_size
        self._done = 0
        self._lock = threading.Lock()  # guards _done and the reporting of it

    def bring(self, pages: Sequence[int]) -> None:
        """Do nothing: what is pushed is here."""

    def wrote(self, pages: Sequence[int], bodies: Sequence[bytes | memoryview]) -> None:  # noqa: ARG002 - a Watcher
        """Report; a frame that is made twice may reach the total early, and never goes beyond."""
        with self._lock:
            self._done = min(self._done + len(pages) * self._page_size, self._total)
            self._report(self._done, self._total)
