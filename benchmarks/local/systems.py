"""The compared systems: how each creates, fills and opens a database.

    graft, graft-relaxed, graft-remote      a volume, by durability; its remote is a local directory
    graft-pure                              the same as graft without the accelerator (GRAFT_PURE=1)
    sqlite-wal-normal, sqlite-wal-full      plain SQLite in WAL mode, through the same apsw
    libsql                                  libSQL's Python client on a local file, if installed

Each scenario sets the same page cache for all systems.
"""

import importlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import apsw

from benchmarks.database import Database


class System(Protocol):
    """One of the compared systems; ``path`` is where its database is or will be."""

    @property
    def name(self) -> str:
        """The name in the rows."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that the measured process needs."""
        ...

    def create(self, path: Path) -> None:
        """Make an empty database, replacing any other at the path."""
        ...

    def load(self, path: Path, source: Path) -> None:
        """Make a database with the content of a plain SQLite file, all of it local and checkpointed."""
        ...

    def open(self, path: Path) -> Database:
        """Open the database."""
        ...


@dataclass(frozen=True, slots=True)
class Graft:
    """A volume whose remote is a directory beside the replica."""

    name: str
    durability: str = "local"
    environment: Mapping[str, str] = field(default_factory=dict)

    def create(self, path: Path) -> None:
        """Make a volume with nothing in it."""
        from graft.sync.clone import init  # noqa: PLC0415 - the processes of other systems must not import it

        shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(_remote(path), ignore_errors=True)
        init(path, f"{_remote(path)}#bench").close()

    def load(self, path: Path, source: Path) -> None:
        """Import and push, which leaves every page in the cache."""
        from graft.replica.opening import open_replica  # noqa: PLC0415
        from graft.sync.push import push  # noqa: PLC0415
        from graft_sqlite_vfs.importing import import_database  # noqa: PLC0415

        self.create(path)
        with open_replica(path) as replica:
            import_database(replica, source)
            push(replica)

    def open(self, path: Path) -> Database:
        """Open the replica."""
        from graft_sqlite_vfs.connection import connect  # noqa: PLC0415

        return connect(path, durability=self.durability)

    def read_path(self, path: Path) -> str:
        """Return the read path of a replica, from `PRAGMA graft_info`."""
        database = self.open(path)
        try:
            facts = json.loads(database.execute("PRAGMA graft_info='json'").fetchall()[0][0])
        finally:
            database.close()
        return str(facts["read_path"])


class _OneFile:
    """Systems whose database is one plain SQLite file."""

    __slots__ = ()

    def create(self, path: Path) -> None:
        """Make an empty file."""
        _remove_file(path)
        self.open(path).close()

    def load(self, path: Path, source: Path) -> None:
        """Copy the file."""
        _remove_file(path)
        shutil.copyfile(source, path)
        self.open(path).close()

    def open(self, path: Path) -> Database:
        """Open the file."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Sqlite(_OneFile):
    """Plain SQLite in WAL mode."""

    name: str
    synchronous: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def open(self, path: Path) -> Database:
        """Open the file."""
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(5000)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", self.synchronous)
        return connection


@dataclass(frozen=True, slots=True)
class Libsql(_OneFile):
    """libSQL's client on a local file, in WAL mode with synchronous=NORMAL."""

    name: str = "libsql"
    environment: Mapping[str, str] = field(default_factory=dict)

    def open(self, path: Path) -> Database:
        """Open the file."""
        connection: Any = importlib.import_module("libsql").connect(str(path), isolation_level=None)
        connection.execute("PRAGMA journal_mode = wal").fetchall()
        connection.execute("PRAGMA synchronous = normal")
        database: Database = connection
        return database


def _known() -> dict[str, System]:
    systems: list[System] = [
        Graft("graft"),
        Graft("graft-relaxed", "relaxed"),
        Graft("graft-remote", "remote"),
        Graft("graft-pure", environment={"GRAFT_PURE": "1"}),
        Sqlite("sqlite-wal-normal", "normal"),
        Sqlite("sqlite-wal-full", "full"),
    ]
    if find_spec("libsql") is not None:
        systems.append(Libsql())
    return {system.name: system for system in systems}


SYSTEMS = _known()
"""The systems that can run on this machine, by name."""

READERS = ("graft", "graft-pure", "sqlite-wal-normal", "libsql")
"""Systems for scenarios that only read, where durability makes no difference."""
WRITERS = ("graft", "graft-relaxed", "graft-pure", "sqlite-wal-normal", "sqlite-wal-full", "libsql")


def disk_bytes(directory: Path) -> int:
    """Return the disk space that the files in a directory take."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())


def is_graft(system: System) -> bool:
    """Return whether a system is this project."""
    return isinstance(system, Graft)


def _remote(path: Path) -> Path:
    return path.with_name(path.name + ".remote")


def _remove_file(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
