"""Notifies every watching task of a change; each task reads the new state itself."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Broadcast:
    """Belongs to one event loop; only `notify_from_thread` may be called from other threads.

    watched() --> clear the event --> read the state --> wait for the event: no change after the read is missed
    """

    def __init__(self) -> None:
        """Use the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._events: set[asyncio.Event] = set()

    @contextmanager
    def watched(self) -> Iterator[asyncio.Event]:
        """Yield an event that every notification sets."""
        event = asyncio.Event()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)

    def notify(self) -> None:
        """Wake all watching tasks."""
        for event in self._events:
            event.set()

    def notify_from_thread(self) -> None:
        """Wake all watching tasks, from any thread; does nothing if the loop is closed."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.notify)


async def wait(event: asyncio.Event, timeout_s: float | None) -> bool:
    """Wait for an event with a timeout; return whether it was set."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
