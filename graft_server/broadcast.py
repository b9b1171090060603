"""A pulse: notifies every watching task of a change; each task reads the new state itself."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Pulse:
    """Lives on one event loop; `beat_from_thread` may be called anywhere.

    watched() --> clear the event --> look at the state --> wait for the event: what moves after the look is not missed
    """

    def __init__(self) -> None:
        """Belong to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._events: set[asyncio.Event] = set()

    @contextmanager
    def watched(self) -> Iterator[asyncio.Event]:
        """Yield an event that every beat sets."""
        event = asyncio.Event()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)

    def beat(self) -> None:
        """Wake all that watch."""
        for event in self._events:
            event.set()

    def beat_from_thread(self) -> None:
        """Wake all that watch, from any thread; a loop that was closed has nobody watching."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.beat)


async def wait(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Wait for an event with a timeout; return whether it was set."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
