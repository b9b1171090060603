"""Bounds the bytes of partly read requests: in total, per client and per document (pure)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class OverBudget(Exception):
    """Requests hold as many bytes as they may; try again later."""


class HolderOverBudget(OverBudget):
    """The requests of one client, or for one document, hold as many bytes as they may."""


class Share:
    """The bytes that one request holds."""

    def __init__(self, budget: "Budget", holders: Sequence[str]) -> None:
        self._budget = budget
        self._holders = holders
        self.size = 0

    def add(self, size: int) -> None:
        """Reserve more bytes; raises `OverBudget`."""
        self._budget.take(self._holders, size)
        self.size += size


class Budget:
    """A limit on the bytes held at once; belongs to one event loop."""

    def __init__(self, bytes_max: int, holder_bytes_max: int) -> None:
        """Allow ``bytes_max`` bytes in total, and ``holder_bytes_max`` for each client and each document."""
        self._bytes_max = bytes_max
        self._holder_bytes_max = holder_bytes_max
        self._held = 0
        self._by_holder = Counter[str]()

    @contextmanager
    def share(self, *holders: str) -> Iterator[Share]:
        """Hold bytes on behalf of ``holders`` until the block ends."""
        share = Share(self, holders)
        try:
            yield share
        finally:
            self._held -= share.size
            self._by_holder.subtract(dict.fromkeys(holders, share.size))
            for holder in holders:
                if not self._by_holder[holder]:
                    del self._by_holder[holder]

    def take(self, holders: Sequence[str], size: int) -> None:
        """Reserve bytes for ``holders``; raises `OverBudget`, and then reserves none."""
        for holder in holders:
            held = self._by_holder[holder]
            if held + size > self._holder_bytes_max:
                raise HolderOverBudget(f"requests of {holder} hold {held} bytes, the limit for one; try again later")
        if self._held + size > self._bytes_max:
            raise OverBudget(f"requests hold {self._held} bytes, the limit of this server; try again later")
        self._held += size
        for holder in holders:
            self._by_holder[holder] += size
