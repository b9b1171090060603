"""`bare`: the duration of single requests, as a yardstick for everything else."""

import random
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from operator import attrgetter

from benchmarks.remote.scenario import Place, warm_up
from benchmarks.remote.systems import FAST
from benchmarks.rows import Reading
from pagestore.urls import open_store

_READ_BYTES = 20_000
"""What a lookup reads with one request."""
_WRITTEN_BYTES = 2500
"""What a push of one row writes."""


class Bare:
    """Conditional writes of one object, and ranged reads of a volume."""

    name = "bare"
    systems = FAST

    def prepare(self, place: Place) -> None:
        """Make the volume."""
        self._url(place)

    def run(self, place: Place) -> Iterator[Reading]:
        """Read and write several times."""
        warm_up(place)
        chance = random.Random(place.sizes.lookups)
        with closing(open_store(place.url(self.name))) as ours, closing(open_store(self._url(place))) as theirs:
            segment = max(theirs.list("segments/"), key=attrgetter("size"))
            for _ in range(place.sizes.lookups):
                start = chance.randrange(max(segment.size - _READ_BYTES, 1))
                yield from place.measure(f"{self.name}/get", partial(theirs.get_range, segment.key, start, _READ_BYTES))
            for _ in range(place.sizes.repeats):
                yield from place.measure(f"{self.name}/put", partial(ours.put_if_absent, _key(), bytes(_WRITTEN_BYTES)))

    def _url(self, place: Place) -> str:
        return place.volume(place.sizes.table_bytes, 0)


def _key() -> str:
    return f"logs/{uuid.uuid4().hex}"
