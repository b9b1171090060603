"""The volume of a document: its replica, and the single connection that writes to it."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import apsw

from graft.disk.locks import FileLock
from graft.errors import BadRequest, GraftError, NoSuchVolume, OtherVolume, VolumeExists, local_errors
from graft.remote.address import RemoteAddress, is_same_volume, parse_remote
from graft.replica.directory import is_replica
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.settings import Durability, Settings
from graft.sync.clone import clone, init
from graft.sync.pull import PullResult, discard, pull
from graft_sqlite_vfs.connection import connect
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime
from sqlsync.errors import DocumentBusy
from sqlsync.reducers.sandbox import Sandbox

PAGE_SIZE = 4096
"""The page size that SQLSync's client can read; an existing volume may have another one."""


class DocumentVolume:
    """A directory with the replica of a document's volume; one process at a time opens it."""

    def __init__(
        self,
        directory: Path,
        remote: str | os.PathLike[str] | RemoteAddress,
        *,
        settings: Settings | None = None,
        store: ObjectStore | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Open it, and create the volume if it does not exist. Raises `DocumentBusy` and what opening a replica
        raises.
        """
        self.alive = True
        """Whether it has not been closed."""
        self._open = ExitStack()
        with ExitStack() as opened:
            with local_errors(f"opening {directory}"):
                directory.mkdir(parents=True, exist_ok=True)
            self.lock = _claimed(directory)
            opened.callback(self.lock.close)
            self.replica = _replica(directory / "replica", _named(remote), settings, store, runtime)
            opened.callback(self.replica.close)
            # Commits that a power cut loses are replayed from the timeline or the inbox.
            self.connection = connect(self.replica.path, durability=Durability.RELAXED)
            opened.callback(self.connection.close)
            self.connection.pragma("auto_vacuum", 2)  # incremental; takes effect only while the volume is empty
            self.sandbox = Sandbox(self.connection, runtime=runtime)
            self._open = opened.pop_all()

    @property
    def lsn(self) -> int:
        """The remote LSN on which the replica is based."""
        return self.replica.view().state.lsn

    @property
    def unpushed(self) -> bool:
        """Whether there are local commits."""
        return bool(self.replica.view().pending)

    @contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """Run a block in one write transaction, committed at its end; raises the errors of graft for the volume."""
        connection = self.connection
        with volume_errors():
            self.sandbox.begin()
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def reader(self) -> apsw.Connection:
        """Return a connection that cannot write; the caller closes it."""
        return connect(self.replica.path, flags=apsw.SQLITE_OPEN_READONLY)

    def pull(self, before_move: Callable[[], None] | None = None) -> PullResult:
        """Move to the newest remote version and discard local commits; see `graft.sync.pull.pull`."""
        return pull(self.replica, policy="discard", before_move=before_move)

    def discard(self) -> int:
        """Discard all local commits without asking the remote; return how many there were."""
        return discard(self.replica)

    def close(self) -> None:
        """Close everything; may be called again."""
        self.alive = False
        self._open.close()


@contextmanager
def volume_errors() -> Iterator[None]:
    """Raise the graft error that caused an SQLite error, if there is one."""
    try:
        yield
    except apsw.Error as error:
        cause = error.__cause__
        if isinstance(cause, GraftError):
            raise cause from None
        raise


def _claimed(directory: Path) -> FileLock:
    lock = FileLock(directory / "document.lock", f"the document in {directory}")
    if not lock.try_acquire():
        lock.close()
        raise DocumentBusy(f"another process, or another object in this one, has {directory} open")
    return lock


def _named(remote: str | os.PathLike[str] | RemoteAddress) -> RemoteAddress:
    address = parse_remote(remote)
    if address.volume is None:
        raise BadRequest(f"{address} does not name a volume; a document needs one, as in {address}#name")
    return address


def _replica(
    path: Path, address: RemoteAddress, settings: Settings | None, store: ObjectStore | None, runtime: Runtime
) -> Replica:
    if not is_replica(path):
        try:
            return clone(path, address, settings=settings, store=store, runtime=runtime, suggest=False)
        except NoSuchVolume:
            try:
                return init(path, address, page_size=PAGE_SIZE, settings=settings, store=store, runtime=runtime)
            except VolumeExists:  # another process created it meanwhile
                return clone(path, address, settings=settings, store=store, runtime=runtime)
    replica = open_replica(path, settings=settings, store=store, runtime=runtime)
    if not is_same_volume(replica.store_url, replica.name, address):
        found = replica.remote_address
        replica.close()
        raise OtherVolume(f"{path} is a replica of {found}, not of {address}")
    return replica
