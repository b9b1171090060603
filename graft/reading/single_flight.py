"""Single flight: a frame that several threads want is fetched once."""

import threading
from collections.abc import Iterable


class SingleFlight:
    """The frames that are being fetched, by number; safe for threads."""

    def __init__(self) -> None:
        """Start with none."""
        self._changed = threading.Condition()  # guards the two below
        self._in_flight: set[int] = set()
        self._background = 0

    def claim(self, wanted: Iterable[int]) -> set[int]:
        """Return the frames that no other thread is fetching; the caller must fetch and `release` them."""
        with self._changed:
            mine = {number for number in wanted if number not in self._in_flight}
            self._in_flight |= mine
            return mine

    def release(self, mine: set[int]) -> None:
        """Note that frames were fetched, or could not be."""
        with self._changed:
            self._in_flight -= mine
            self._changed.notify_all()

    def wait_for(self, number: int, timeout_s: float) -> bool:
        """Wait until no thread is fetching a frame; return False if that takes more than ``timeout_s`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: number not in self._in_flight, timeout_s)

    def is_in_flight(self, number: int) -> bool:
        """Return whether a thread is fetching a frame."""
        return number in self._in_flight

    def background_begins(self) -> None:
        """Count a background fetch."""
        with self._changed:
            self._background += 1

    def background_ends(self) -> None:
        """Stop counting a background fetch."""
        with self._changed:
            self._background -= 1
            self._changed.notify_all()

    def wait_for_background(self) -> None:
        """Wait until no background fetch is running."""
        with self._changed:
            self._changed.wait_for(lambda: self._background < 1)
