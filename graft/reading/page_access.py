"""What building commits and caching their bodies needs of a replica."""

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
    """The ways to a volume's pages: the remote, the frames that are known, their bodies, and the commits' indexes."""

    page_size: int
    settings: Settings
    runtime: Runtime
    remote: Remote
    table: FrameTable
    cache: Cache
    bodies: BodyLoader

    def require_whole(self, commits: Iterable[LocalCommit]) -> None:
        """Raise `Corrupt` if the journal's records of these commits were damaged since they were written."""
        ...

    def load_chunks(self, wanted: Iterable[tuple[CommitIndex, int]]) -> None:
        """Read index chunks that are lacking from the remote."""
        ...
