"""The part of a replica that building commits and caching their bodies needs."""

from collections.abc import Iterable
from typing import Protocol

from graft.cache.cache import Cache
from graft.journal.local_commit import LocalCommit
from graft.pagemap.frame_table import FrameTable
from graft.reading.body_loader import BodyLoader
from graft.remote.remote import Remote
from graft.settings import Settings
from metastore.index import CommitIndex
from pagestore.runtime import Runtime


class PageAccess(Protocol):
    """Access to a volume's pages: the remote, the known frames, their bodies, and the commits' indexes."""

    page_size: int
    settings: Settings
    runtime: Runtime
    remote: Remote
    table: FrameTable
    cache: Cache
    bodies: BodyLoader

    def require_whole(self, commits: Iterable[LocalCommit]) -> None:
        """Raise `Corrupt` if the journal records of these commits were damaged after they were written."""
        ...

    def load_chunks(self, wanted: Iterable[tuple[CommitIndex, int]]) -> None:
        """Read missing index chunks from the remote."""
        ...
