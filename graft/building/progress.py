"""Reports the progress of writing segments, in bytes of pages."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the amount done and the total, in the same unit."""


class WrittenBytes:
    """A `graft.building.segment_builder.Watcher` that reports the bytes of framed pages, each page once."""

    def __init__(self, report: Progress, pages: int, page_size: int) -> None:
        """Call ``report`` up to the bytes of ``pages`` pages."""
        self._report = report
        self._page_size = page_size
        self._total = pages * page_size
        self._done = 0
        self._lock = threading.Lock()  # guards _done and the reporting of it

    def prefetch(self, pages: Sequence[int]) -> None:
        """Do nothing: pages to push are local."""

    def wrote(self, pages: Sequence[int], bodies: Sequence[bytes | memoryview]) -> None:  # noqa: ARG002 - a Watcher
        """Report; frames that are made twice may reach the total early, but never exceed it."""
        with self._lock:
            self._done = min(self._done + len(pages) * self._page_size, self._total)
            self._report(self._done, self._total)
