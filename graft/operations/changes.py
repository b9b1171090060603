"""The pages that changed between two versions of a volume."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graft.errors import remote_errors
from graft.pagemap.chunks import MapChunk
from graft.pagemap.page_map import PageMap
from graft.replica.replica import Replica
from metastore.index import CommitIndex, read_chain
from metastore.lsn import LSN
from metastore.placement import CHUNK_PAGES
from pagestore.distinct import distinct

Pages = npt.NDArray[np.int64]
"""Page indexes, ascending, each once."""


def moved_pages(before: PageMap, after: PageMap) -> Pages:
    """Return the pages of ``after`` that were elsewhere ``before``, in two maps of one replica.

    Pages in the same place have the same content. Takes time for each chunk that the maps do not share.
    """
    found = [np.empty(0, np.int64)]
    for number, chunk in enumerate(after.chunks):
        old = before.chunks[number] if number < len(before.chunks) else None
        if old is chunk or (old is not None and _is_alike(old, chunk)):
            continue
        new = chunk.locations()
        places = np.nonzero(new if old is None else new != old.locations())[0]
        found.append(places.astype(np.int64) + number * CHUNK_PAGES + 1)
    grown = np.arange(before.page_count + 1, after.page_count + 1, dtype=np.int64)
    pages = np.union1d(np.concatenate(found), grown)
    return pages[pages <= after.page_count]


def differing_pages(before: PageMap, after: PageMap) -> Pages:
    """Return the pages that are not in the same place in two maps of one replica, or that only one of them has.

    Pages in the same place have the same content; others may have. Takes time for each chunk that differs.
    """
    beyond = np.arange(after.page_count + 1, before.page_count + 1, dtype=np.int64)
    return np.concatenate([moved_pages(before, after), beyond])


def _is_alike(chunk: MapChunk, other: MapChunk) -> bool:
    """Return whether two chunks are known to be equal without reading them; chunks of local commits are not."""
    return chunk.fingerprint == other.fingerprint != 0


def pages_written_since(replica: Replica, lsn: int, head: LSN) -> Pages:
    """Return the pages that commits after ``lsn``, up to ``head``, wrote or cut off; possibly some others too.

    Reads the roll-ups that lead to ``head``, in one round trip, and no page body. Pages beyond the end of ``head`` are
    left out. Raises the errors of graft, such as `Corrupt` if history was deleted.
    """
    with remote_errors(f"reading commits {lsn + 1} to {head} of volume {replica.name}"):
        log = replica.lineage.log_of(head)
        known = {index.commit.lsn: index for index in replica.view().state.chain if index.commit.log == log}
        chain = read_chain(replica.remote.commits, replica.remote.parallel, log, head, LSN(lsn), known=known)
    replica.load_chunks((index, entry.number) for index in chain for entry in index.commit.directory)
    return _written(chain)


def _written(chain: Sequence[CommitIndex]) -> Pages:
    page_count = chain[0].commit.page_count
    found = [np.arange(min(index.commit.min_page_count for index in chain) + 1, page_count + 1, dtype=np.int64)]
    for index in chain:
        for entry in index.commit.directory:
            placed = index.placement(entry.number).page_low.astype(np.int64)
            found.append(placed + entry.number * CHUNK_PAGES + 1)
    pages = distinct(np.concatenate(found))
    return pages[pages <= page_count]
