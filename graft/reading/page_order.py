"""Page orders and trends: which pages a reader is likely to want next. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

LOOKAHEAD_PAGES_MAX = 4096
"""How many pages of an order a trend considers."""
_STRIDE_MEMORY = 8
"""Steps that the average stride remembers."""


class PageOrder(Protocol):
    """A guess at which pages follow which."""

    def following(self, page: int, direction: int) -> Iterator[int]:
        """Yield the pages after ``page`` (direction 1) or before it (−1), nearest first."""
        ...

    def distance(self, page: int, other: int, steps_max: int) -> int:
        """Return how many steps of `following` lead from one page to another, negative backwards.

        Returns 0 if ``steps_max`` steps do not lead there. Must be fast: a reader calls it at each random miss.
        """
        ...

    def tree(self, page: int) -> int:
        """Return a number that all pages of the same tree share, as far as trees are known."""
        ...


@dataclass(frozen=True, slots=True)
class NumberOrder:
    """Pages by number, ``stride`` apart."""

    page_count: int
    stride: int = 1

    def following(self, page: int, direction: int) -> Iterator[int]:
        """See `PageOrder.following`."""
        step = direction * self.stride
        return iter(range(page + step, self.page_count + 1 if step > 0 else 0, step))

    def distance(self, page: int, other: int, steps_max: int) -> int:
        """See `PageOrder.distance`."""
        steps, rest = divmod(other - page, self.stride)
        return steps if not rest and abs(steps) <= steps_max and 1 <= other <= self.page_count else 0

    def tree(self, page: int) -> int:  # noqa: ARG002 - the protocol's
        """Return 0: all pages count as one tree."""
        return 0


@dataclass(frozen=True, slots=True)
class Trend:
    """The direction in which a reader moves through an order, and its stride."""

    direction: int
    """1 forwards, −1 backwards in the order."""
    stride: float = 1.0
    """Average distance in the order from one page that is read to the next."""
    steps: int = 0
    """Steps in the average."""

    def pages(self, page: int, order: PageOrder) -> Iterator[int]:
        """Yield the pages that are likely to be read after ``page``, nearest first."""
        ahead = islice(order.following(page, self.direction), LOOKAHEAD_PAGES_MAX)
        if self.stride == 1:
            yield from ahead
            return
        steps = 1
        for position, following in enumerate(ahead, 1):
            if position == round(steps * self.stride):
                yield following
                steps += 1

    def after(self, step: int) -> "Trend":
        """Return the trend with one more step in its average; a step of 0 does not count."""
        if not step:
            return self
        stride = self.stride + (abs(step) - self.stride) / min(self.steps + 1, _STRIDE_MEMORY)
        return Trend(self.direction, stride, self.steps + 1)
