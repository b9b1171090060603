"""Volumes to test with: every connection is checked with integrity_check and closed when its test ends."""

from collections.abc import Callable, Iterator
from itertools import count

import apsw
import pytest

from graft.errors import GraftError
from graft.operations.status import status
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.settings import Settings
from graft_sqlite_vfs import connect
from graft_sqlite_vfs.readpath import Pure
from graft_sqlite_vfs.registration import READ_PATH, pure_read_path
from pagestore.stores.memory import MemoryStore
from pagestore.testing import FaultyStore

_names = count()


class Store(FaultyStore):
    """A store in memory that can be down, and counts the calls."""

    def __init__(self, name: str) -> None:
        super().__init__(MemoryStore(name))
        self.calls = 0

    def _call(self, *args, **kwargs):
        self.calls += 1
        return super()._call(*args, **kwargs)


def integrity(connection: apsw.Connection) -> None:
    """Check every volume that is attached, unless the connection is broken on purpose."""
    for _, schema, *_ in list(connection.execute("PRAGMA database_list")):
        assert connection.pragma("integrity_check", schema=schema) == "ok"


class Volumes:
    """Makes replicas in the test's directory and connections to them."""

    def __init__(self, directory) -> None:
        self.directory = directory
        name = f"vfs-{next(_names)}"
        self.remote = f"memory://{name}"
        self.store = Store(name)
        self.connections: list[apsw.Connection] = []
        self.replicas: list[Replica] = []

    def path(self, name: str = "db"):
        return self.directory / name

    def connect(self, name: str = "db", **options) -> apsw.Connection:
        """Connect to a replica of the volume called like the directory, or ``remote="#other"``."""
        if (remote := options.pop("remote", "")) is not None:
            options["remote"] = f"{self.remote}{remote}"
        connection = connect(self.path(name), **options)
        connection.set_busy_timeout(0)
        self.connections.append(connection)
        return connection

    def replica(self, name: str = "db") -> Replica:
        """The replica behind a connection; held until the test ends."""
        replica = open_replica(self.path(name))
        self.replicas.append(replica)
        return replica

    def behind_store(self, name: str = "db", settings: Settings | None = None) -> Store:
        """Use the store that can be down for a replica; before any connection to it."""
        from graft.errors import NoSuchVolume
        from graft.sync.clone import clone, init

        address = f"{self.remote}#db"
        try:
            made = clone(self.path(name), address, store=self.store, settings=settings)
        except NoSuchVolume:
            made = init(self.path(name), address, store=self.store, settings=settings)
        self.replicas.append(made)
        return self.store

    def commits(self, name: str = "db") -> int:
        """How many local commits the remote lacks."""
        with open_replica(self.path(name)) as replica:
            return status(replica).local_commits


@pytest.fixture(params=["accelerated", "pure"])
def read_path(request) -> Iterator[str]:
    """The whole suite runs on both; a test of what only one has is parametrized with that one, indirectly."""
    if request.param == "pure":
        with pure_read_path():
            yield request.param
    else:
        if isinstance(READ_PATH, Pure):
            pytest.skip(f"the read path is {READ_PATH}")
        yield request.param


@pytest.fixture
def commits_in_python(monkeypatch) -> None:
    """No commit is appended in C."""
    from graft.replica.transaction import WriteTransaction

    monkeypatch.setattr(WriteTransaction, "room", lambda self: None)


committed_in_python = pytest.mark.usefixtures("commits_in_python")
"""For tests that watch or replace `WriteTransaction.commit`, which commits in C do not call."""

in_python_only = pytest.mark.parametrize("read_path", ["pure"], indirect=True)
"""For tests that watch methods which the accelerator does not call."""


@pytest.fixture
def volumes(tmp_path, read_path) -> Iterator[Volumes]:
    made = Volumes(tmp_path)
    yield made
    made.store.down = False
    try:
        for connection in made.connections:
            if connection in apsw.connections():
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                integrity(connection)
    finally:
        for connection in made.connections:
            connection.close()
        for replica in made.replicas:
            replica.close()


@pytest.fixture
def db(volumes) -> apsw.Connection:
    """A connection to a new volume with a few rows."""
    connection = volumes.connect()
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    connection.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    return connection


def fill(connection: apsw.Connection, rows: int, *, size: int = 300, table: str = "t") -> None:
    """Insert rows of ``size`` bytes, in one transaction."""
    connection.execute(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
        f"INSERT INTO {table}(v) SELECT hex(randomblob({size // 2})) || i FROM n"
    )


def rows(connection: apsw.Connection, sql: str) -> list[tuple]:
    return list(connection.execute(sql))


def spilling(connection: apsw.Connection) -> None:
    """Make SQLite write dirty pages long before the commit."""
    connection.execute("PRAGMA cache_size=5; PRAGMA cache_spill=1")


def failing(error: GraftError, times: int = 1) -> Callable[..., object]:
    """A replacement of `WriteTransaction.commit` that fails a few times."""
    from graft.replica.transaction import WriteTransaction

    original = WriteTransaction.commit
    left = times

    def commit(self, *args, **kwargs):
        nonlocal left
        if left:
            left -= 1
            raise error
        return original(self, *args, **kwargs)

    return commit
