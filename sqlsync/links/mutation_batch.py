"""Batches of mutations sent to a coordinator: the stored form (`sqlsync.envelope`) of each, after its length.

u32 length | stored form | u32 length | stored form | …    (little-endian)
"""

from collections.abc import Iterator, Sequence

from sqlsync.envelope import Mutation, decode, encode, require_sound
from sqlsync.errors import CorruptTimeline

BATCH_BYTES_MAX = 4 * 1024 * 1024
"""The size of a batch; only a single larger mutation exceeds it."""


def write_batches(mutations: Sequence[Mutation]) -> Iterator[bytes]:
    """Yield the batches for mutations, in order; an empty batch if there are none."""
    return (batch for batch, _ in numbered_batches(mutations))


def numbered_batches(mutations: Sequence[Mutation]) -> Iterator[tuple[bytes, int]]:
    """Yield the batches like `write_batches`, each with the index of its first mutation."""
    batch, first = bytearray(), 0
    for place, mutation in enumerate(mutations):
        sealed = encode(mutation)
        if batch and len(batch) + 4 + len(sealed) > BATCH_BYTES_MAX:
            yield bytes(batch), first
            batch, first = bytearray(), place
        batch += len(sealed).to_bytes(4, "little") + sealed
    if batch or not mutations:
        yield bytes(batch), first


def read_batch(data: bytes) -> list[Mutation]:
    """Read a received batch; raises `CorruptTimeline` and `BadMutation` for anything else."""
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            raise CorruptTimeline(f"a batch of {len(data)} bytes ends in the middle of a mutation")
        mutation = decode(data[at + 4 : end])
        require_sound(mutation)
        found.append(mutation)
        at = end
    return found
