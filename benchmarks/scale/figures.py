"""Figures of the simulated logs: sizes of indexes and numbers of fetches, at several lengths of the log."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.scale.encoding import index_bytes
from benchmarks.scale.simulation import SimulatedLog, Workload, requests_of_cold_open, simulate
from metastore.lsn import LSN, chain

_SAMPLES_PER_LEVEL = 4
_COLD_OPENS = 200
VOLUMES = {"1 GB": 262_144, "100 GB": 26_214_400, "1 TB": 268_435_456}
"""Pages of 4 KiB."""
LENGTHS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True, slots=True)
class LogFigures:
    """A log of one volume, at one length."""

    volume: str
    pages: int
    commits: int
    bases: int
    entries_mean: float
    """Pages listed by a commit that is no base."""
    index_bytes_mean: float
    """Of a commit, bases included: what a push writes beyond its pages."""
    index_bytes_base: int
    """Of the newest base."""
    chain_mean: float
    """Commits that a cold reader composes."""
    chain_max: int
    requests_mean: float
    """Commits that a cold reader requests, in one batch."""
    requests_max: int
    cold_index_bytes: float
    """The indexes of a cold reader's chain together; it reads the chunks of them that it needs."""
    step_bytes_mean: float
    """Index bytes of the commit that a follower fetches per step, without bases."""


def figures(commits: int, names: Sequence[str] = tuple(VOLUMES)) -> Iterator[LogFigures]:
    """Simulate a log of ``length`` commits for each volume, and yield its figures at every length up to that."""
    for name in names:
        log = simulate(commits, Workload(VOLUMES[name]))
        for length in LENGTHS:
            if length <= commits:
                yield figures_at(name, log, length)


def figures_at(name: str, log: SimulatedLog, length: int) -> LogFigures:
    """Return the figures of the first ``length`` commits."""
    is_base, lsns = log.is_base[1 : length + 1], np.arange(1, length + 1)
    plain = lsns[~is_base]
    by_level = _bytes_by_level(log, length)
    base_bytes = index_bytes(log, int(lsns[is_base][-1])).total
    sizes = by_level[_levels(plain)]
    requests = requests_of_cold_open(lsns)
    picked = np.random.default_rng(length).integers(length // 2 + 1, length, _COLD_OPENS, endpoint=True)
    return LogFigures(
        volume=name,
        pages=log.workload.pages,
        commits=length,
        bases=int(is_base.sum()),
        entries_mean=float(log.entries[plain].mean()),
        index_bytes_mean=float((sizes.sum() + base_bytes * float(is_base.sum())) / length),
        index_bytes_base=base_bytes,
        chain_mean=float(log.chain[lsns].mean()),
        chain_max=int(log.chain[lsns].max()),
        requests_mean=float(requests.mean()),
        requests_max=int(requests.max()),
        cold_index_bytes=float(np.mean([_cold_bytes(log, int(lsn), by_level, base_bytes) for lsn in picked])),
        step_bytes_mean=float(sizes.mean()),
    )


def as_json(rows: Sequence[LogFigures]) -> list[dict[str, object]]:
    """Return the figures as JSON values, rounded to their precision."""
    return [
        {
            name: round(value, 1) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(row).items()
        }
        for row in rows
    ]


def _bytes_by_level(log: SimulatedLog, length: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the mean index bytes of the commits of each level that are no bases, from some of them."""
    found = np.zeros(length.bit_length())
    for level in range(length.bit_length()):
        lsns = np.arange(3 << level, length + 1, 2 << level)
        lsns = lsns[~log.is_base[lsns]]
        if len(lsns):
            picked = lsns[np.unique(np.linspace(0, len(lsns) - 1, _SAMPLES_PER_LEVEL).astype(np.int64))]
            found[level] = np.mean([index_bytes(log, int(lsn)).total for lsn in picked])
    return found


def _levels(lsns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    levels: np.ndarray[tuple[int], np.dtype[np.int64]] = np.log2(lsns & -lsns).astype(np.int64)
    return levels


def _cold_bytes(
    log: SimulatedLog, lsn: int, by_level: np.ndarray[tuple[int], np.dtype[np.float64]], base_bytes: int
) -> float:
    taken = 0.0
    for each in chain(LSN(lsn)):
        if log.is_base[each]:
            return taken + base_bytes
        taken += by_level[(each & -each).bit_length() - 1]
    raise AssertionError("BUG: a chain without a base")
