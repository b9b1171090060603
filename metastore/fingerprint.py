"""Fingerprints of page maps: equal maps have equal fingerprints, so a wrongly composed map is detected.

A map's fingerprint is the XOR over its live pages of a 64-bit mix of (page index, segment, frame offset). Updating it
takes time proportional to the changed pages, and it can be split by chunk. It verifies the places of pages. Contents
are verified by the frames' checksums and page lists, which also verify slots, so slots are not part of the mix. The
mix is the finaliser of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from collections.abc import Iterable

import numpy as np
import xxhash

from metastore.placement import CHUNK_PAGES, U64, ChunkPlacement, SegmentRef

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def frame_seeds(frames: Iterable[tuple[bytes, int]]) -> U64:
    """Return the seed of each frame, given as (its segment's raw id, its offset), for the mix of its pages."""
    digest = xxhash.xxh3_64_intdigest
    return np.array([digest(segment + offset.to_bytes(8, "little")) for segment, offset in frames], np.uint64)


def mixed(pages: U64, seeds: U64) -> U64:
    """Return the 64-bit mix of each (page index, frame seed)."""
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
    """Return the fingerprint of a chunk that consists of exactly these places."""
    seeds = frame_seeds(
        (segments[ordinal].segment.raw, offset)
        for ordinal, offset in zip(placement.frame_segment.tolist(), placement.frame_offset.tolist(), strict=True)
    )
    pages = placement.page_low.astype(np.uint64) + np.uint64(number * CHUNK_PAGES + 1)
    return fingerprint(pages, seeds[placement.page_frame]) if placement.pages else 0
