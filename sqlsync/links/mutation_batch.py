"""Several mutations on their way to a coordinator: each one's stored form (`sqlsync.envelope`) behind its length.

u32 length | stored form | u32 length | stored form | …    (little-endian)
"""

from collections.abc import Iterator, Sequence

from sqlsync.envelope import Mutation, decode, encode, require_sound
from sqlsync.errors import CorruptTimeline

BATCH_BYTES_MAX = 4 * 1024 * 1024
"""A batch is cut here; only a mutation that is larger by itself makes a larger one."""


def write_batches(mutations: Sequence[Mutation]) -> Iterator[bytes]:
    """Yield the batches for mutations, in order; one that is empty if there are none."""
    batch = bytearray()
    for mutation in mutations:
        sealed = encode(mutation)
        if batch and len(batch) + 4 + len(sealed) > BATCH_BYTES_MAX:
            yield bytes(batch)
            batch = bytearray()
        batch += len(sealed).to_bytes(4, "little") + sealed
    if batch or not mutations:
        yield bytes(batch)


def read_batch(data: bytes) -> list[Mutation]:
    """Read a batch that somebody else sent; raises `CorruptTimeline` and `BadMutation` for anything else."""
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
