"""A log without page bodies, up to ten million commits long: which pages each commit's index lists, by the real rule.

The rule is that of docs/formats/commit.md: commit n lists what changed in (n − lowbit(n), n]; a power of two, or a
commit that would list at least half of the live pages, is a base and lists them all. Nothing is estimated: every commit
draws its pages, and the distinct ones of every Fenwick range are counted, a level of the tree at a time.
`tests/benchmarks/test_scale.py` holds a small log against the code that writes real commits.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U32 = npt.NDArray[np.uint32]
_SLAB_ITEMS = 8_000_000


@dataclass(frozen=True, slots=True)
class Workload:
    """A volume that one import fills, and the commits after it."""

    pages: int
    scattered: int = 3
    """Pages that each commit changes anywhere, besides page 1, which every SQLite commit changes."""
    seed: int = 1


@dataclass(frozen=True, slots=True)
class SimulatedLog:
    """Columns indexed by LSN; index 0 stands for the state before the first commit."""

    workload: Workload
    drawn: U32
    """The scattered pages of each commit (not of the first, which is the import)."""
    entries: U32
    """Pages that the commit's index lists."""
    is_base: npt.NDArray[np.bool_]
    chain: npt.NDArray[np.uint8]
    """Commits that lead to it from its base, both included: what a cold reader composes."""

    @property
    def commits(self) -> int:
        """The length of the log."""
        return len(self.entries) - 1


def simulate(commits: int, workload: Workload) -> SimulatedLog:
    """Simulate a log."""
    drawn = np.random.default_rng(workload.seed).integers(
        2, workload.pages, (commits + 1, workload.scattered), np.uint32, endpoint=True
    )
    entries = np.zeros(commits + 1, np.uint32)
    saturated = False
    for level in range(commits.bit_length()):
        lsns = _lsns_of(level, commits)
        if saturated:
            entries[lsns] = workload.pages
        else:
            entries[lsns] = _distinct(drawn, level, commits) + 1
            saturated = len(lsns) > 0 and bool((entries[lsns] * 2 >= workload.pages).all())
        entries[1 << level] = workload.pages
    is_base = entries.astype(np.uint64) * 2 >= workload.pages
    is_base[0] = False
    entries[is_base] = workload.pages
    return SimulatedLog(workload, drawn, entries, is_base, _chain_lengths(is_base))


def requests_of_cold_open(lsns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of commits that a cold reader requests in one batch: the set bits of the LSN."""
    return np.bitwise_count(lsns.astype(np.uint64)).astype(np.int64)


def _lsns_of(level: int, commits: int) -> npt.NDArray[np.int64]:
    """Return the LSNs whose lowest bit is ``level``, but for the power of two."""
    return np.arange(3 << level, commits + 1, 2 << level)


def _distinct(drawn: U32, level: int, commits: int) -> U32:
    """Return the number of distinct pages that the commits of each range of a level changed."""
    step = 1 << level
    blocks = drawn[1 : 1 + commits // step * step].reshape(-1, step * drawn.shape[1])[2::2]
    rows = max(_SLAB_ITEMS // blocks.shape[1], 1)
    found = [np.empty(0, np.uint32)]
    for start in range(0, len(blocks), rows):
        ordered = np.sort(blocks[start : start + rows], axis=1)
        found.append(1 + np.count_nonzero(ordered[:, 1:] != ordered[:, :-1], axis=1).astype(np.uint32))
    return np.concatenate(found)


def _chain_lengths(is_base: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    commits = len(is_base) - 1
    length = np.zeros(commits + 1, np.uint8)
    for level in reversed(range(commits.bit_length())):
        lsns = np.arange(1 << level, commits + 1, 2 << level)
        length[lsns] = np.where(is_base[lsns], 1, 1 + length[lsns & (lsns - 1)])
    return length
