"""Fingerprints of a page map: equal maps have equal ones, and a wrongly composed map is detected at once.

A map's fingerprint is the XOR over its live pages of a 64-bit mix of (page index, segment, frame offset), so that
it can be kept up to date in the number of changed pages and split by chunk. It vouches for places, not for
contents: those are vouched for by the frames' checksums and page lists, which is also why slots are left out. The
mix is the finaliser of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
2014).
"""

from collections.abc import Iterable

import numpy as np
import xxhash

from metastore.placement import CHUNK_PAGES, U64, ChunkPlacement, SegmentRef

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def frame_seeds(frames: Iterable[tuple[bytes, int]]) -> U64:
    """Return what stands for each frame, named by its segment's raw id and its offset, in the mix of its pages."""
    digest = xxhash.xxh3_64_intdigest
    return np.array([digest(segment + offset.to_bytes(8, "little")) for segment, offset in frames], np.uint64)


def mixed(pages: U64, seeds: U64) -> U64:
    """Return one 64-bit mix per (page index, frame seed)."""
    with np.errstate(over="ignore"):
        x: U64 = seeds + pages * np.uint64(_GOLDEN)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
        x ^= x >> np.uint64(31)
    return x


def fingerprint(pages: U64, seeds: U64) -> int:
    """Return the XOR of the mixes; 0 for no pages."""
    return int(np.bitwise_xor.reduce(mixed(pages, seeds))) if len(pages) else 0


def placement_fingerprint(number: int, placement: ChunkPlacement, segments: tuple[SegmentRef, ...]) -> int:
    """Return the fingerprint of a chunk that consists of just these places."""
    seeds = frame_seeds(
        (segments[ordinal].segment.raw, offset)
        for ordinal, offset in zip(placement.frame_segment.tolist(), placement.frame_offset.tolist(), strict=True)
    )
    pages = placement.page_low.astype(np.uint64) + np.uint64(number * CHUNK_PAGES + 1)
    return fingerprint(pages, seeds[placement.page_frame]) if placement.pages else 0
