"""`bare`: what one request takes that does nothing for anybody, by which everything else can be measured."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from benchmarks.remote_scenarios.scenario import Place, warm_up
from benchmarks.remote_systems import FAST
from benchmarks.rows import Reading
from pagestore.urls import open_store

_READ_KEY = "segments/read"
_READ_BYTES = 20_000
"""As a lookup reads at once."""
_WRITTEN_BYTES = 2500
"""As a push of one row writes."""


class Bare:
    """One object, written under the condition that it is absent, and a part of one, read."""

    name = "bare"
    systems = FAST

    def prepare(self, place: Place) -> None:
        """Put an object there."""
        with closing(open_store(place.url(self.name))) as store:
            store.put(_READ_KEY, bytes(2 * _READ_BYTES))

    def run(self, place: Place) -> Iterator[Reading]:
        """Read and write some times over."""
        warm_up(place)
        with closing(open_store(place.url(self.name))) as store:
            for _ in range(place.sizes.repeats):
                yield from place.measure(
                    f"{self.name}/put", partial(store.put_if_absent, _key(), bytes(_WRITTEN_BYTES))
                )
                yield from place.measure(f"{self.name}/get", partial(store.get_range, _READ_KEY, 0, _READ_BYTES))


def _key() -> str:
    return f"logs/{uuid.uuid4().hex}"
