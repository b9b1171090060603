"""The state: the small facts about a replica that must survive a crash, in one SQLite database.

Invariants: the chain leads from the sync point's commit down to its base; an intent exists exactly from before an
append until its outcome is known; `_decoded` holds no index whose head differs from the stored one.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from graft.disk.files import take_name, write_new
from graft.disk.sqlite import abandon, database_errors, opened, shrink, write_transaction
from graft.errors import BadRequest, Corrupt, NotAReplica, ReplicaExists, local_errors, remote_errors
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex
from metastore.lineage import Lineage, Parent
from metastore.lsn import LSN

VERSION = 4
_IN_WAL_MODE = bytes((2, 2))
"""Bytes 18 and 19 of a database in WAL mode (sqlite.org/fileformat2.html, section 1.3.3)."""
_SCHEMA = """
CREATE TABLE identity(name TEXT NOT NULL, remote TEXT NOT NULL, volume TEXT NOT NULL, log TEXT NOT NULL,
    page_size INTEGER NOT NULL, earlier TEXT NOT NULL DEFAULT '[]');
CREATE TABLE sync(lsn INTEGER NOT NULL, local_lsn INTEGER NOT NULL, head INTEGER NOT NULL,
    journal_end INTEGER NOT NULL DEFAULT 0);
CREATE TABLE commits(lsn INTEGER PRIMARY KEY, head BLOB NOT NULL);
CREATE TABLE chunks(lsn INTEGER, number INTEGER, data BLOB NOT NULL, PRIMARY KEY (lsn, number)) WITHOUT ROWID;
CREATE TABLE intent(log TEXT NOT NULL, lsn INTEGER NOT NULL, nonce BLOB NOT NULL, local_lsn INTEGER NOT NULL,
    data BLOB NOT NULL);
CREATE TABLE merges(local_lsn INTEGER PRIMARY KEY, parents TEXT NOT NULL);
"""
_UPGRADES = {
    1: ("ALTER TABLE sync ADD COLUMN journal_end INTEGER NOT NULL DEFAULT 0",),
    2: ("ALTER TABLE identity ADD COLUMN earlier TEXT NOT NULL DEFAULT '[]'",),
    3: ("CREATE TABLE merges(local_lsn INTEGER PRIMARY KEY, parents TEXT NOT NULL)",),
}
_NO_PARENTS = "[]"
_PARENTS = TypeAdapter(tuple[Parent, ...])


@dataclass(frozen=True, slots=True)
class Identity:
    """The volume of a replica."""

    name: str
    store_url: str
    volume: VolumeId
    log: LogId
    page_size: int
    earlier: tuple[Parent, ...] = ()
    """The ancestors of a branch (`metastore.lineage.Lineage.earlier`)."""

    @property
    def lineage(self) -> Lineage:
        """In which log each version of the volume is."""
        return Lineage(self.volume, self.log, self.earlier)


@dataclass(frozen=True, slots=True)
class Intent:
    """A push in progress: the commit that it appends, and the newest local commit in it."""

    log: LogId
    lsn: LSN
    nonce: bytes
    local_lsn: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Merge:
    """A local commit that joined two versions."""

    local_lsn: int
    parents: str
    """Which ones, as JSON; see docs/formats/replica.md."""


@dataclass(frozen=True, slots=True)
class SyncState:
    """The sync point, up to which replica and remote agree, and what is known of the remote."""

    identity: Identity
    lsn: LSN
    """The remote commit that the replica builds on; 0 before the first."""
    local_lsn: int
    """The newest local commit that the remote commit contains."""
    head: LSN
    """The newest remote commit that was ever seen."""
    chain: tuple[CommitIndex, ...]
    """From the commit ``lsn`` down to its base, newest first."""
    intent: Intent | None
    merges: tuple[Merge, ...]
    """The merges among the local commits, oldest first."""
    journal_end: int
    """All local commits up to this one are known to be on the disk; 0 if none are."""


class State:
    """The state of one replica; safe for threads and processes."""

    def __init__(self, path: Path) -> None:
        """Open an existing state; raises `NotAReplica` if there is none."""
        if not path.is_file():
            raise NotAReplica(f"{path.parent} is not a replica (it has no {path.name}); see `graft clone --help`")
        self._path = path
        self._disowned = False
        self._lock = threading.Lock()  # guards the connection and _decoded
        self._decoded: dict[LSN, CommitIndex] = {}
        """The indexes of the chain that was last read or written: those of a long history take long to decode."""
        with database_errors(f"opening {path}"):
            self._database = opened(path, _SCHEMA, VERSION, synchronous="FULL", upgrades=_UPGRADES)

    @classmethod
    def create(cls, path: Path, identity: Identity, lsn: LSN, chain: Sequence[CommitIndex]) -> None:
        """Make the state of a new replica, whole or not at all; raises `ReplicaExists` if another process made one.

        Its name is on the disk once the caller has synced the directory.
        """
        draft = path.with_name(f"{path.stem}-{os.getpid()}-{threading.get_ident()}.new")
        with database_errors(f"creating {path}"):
            content = _new_database(identity, lsn, chain)
        with local_errors(f"creating {path}"):
            try:
                write_new(draft, content)
                take_name(draft, path)
            except FileExistsError as error:
                raise ReplicaExists(f"{path.parent} is a replica already") from error
            finally:
                draft.unlink(missing_ok=True)

    def read(self) -> SyncState:
        """Return the whole state as of one moment."""
        with self._working("reading"):
            self._database.execute("BEGIN")
            try:
                with self._corruption_translated():
                    return self._read_all()
            finally:
                self._database.execute("ROLLBACK")

    def intent(self) -> Intent | None:
        """Return only the push in progress, if there is one."""
        with self._working("reading"), self._corruption_translated():
            return self._read_intent()

    def identity(self) -> Identity:
        """Return only the identity."""
        with self._working("reading"), self._corruption_translated():
            return self._read_identity()

    def advance(
        self,
        lsn: LSN,
        local_lsn: int,
        chain: Sequence[CommitIndex],
        *,
        durable: bool = True,
        anew: Identity | None = None,
        merge: Merge | None = None,
    ) -> SyncState:
        """Move the sync point and the chain, delete the intent, and return the new state.

        If it is not ``durable``, a power cut may undo it until the next durable change or `sync`. With ``anew`` the
        replica is one of that volume from now on, and its known head becomes ``lsn``. With ``merge`` the merge that the
        journal has prepared is a commit from now on.
        """
        with self._transaction(durable=durable) as database:
            if anew:
                database.execute("DELETE FROM identity")
                _write_identity(database, anew)
                database.execute("UPDATE sync SET head = 0")
            database.execute("UPDATE sync SET lsn = ?, local_lsn = ?, head = max(head, ?)", (lsn, local_lsn, lsn))
            database.execute("DELETE FROM intent")
            database.execute("DELETE FROM merges WHERE local_lsn <= ?", (local_lsn,))
            if merge is not None:
                database.execute("INSERT INTO merges VALUES (?, ?)", (merge.local_lsn, merge.parents))
            _write_chain(database, chain)
            head, journal_end = database.execute("SELECT head, journal_end FROM sync").fetchone()
            identity, merges = self._read_identity(), self._read_merges()
            self._decoded = {LSN(index.commit.lsn): index for index in chain}
        return SyncState(identity, lsn, local_lsn, LSN(head), tuple(chain), None, merges, journal_end)

    def saw_head(self, head: LSN) -> None:
        """Store the newest LSN that the remote was seen to have."""
        with self._transaction() as database:
            database.execute("UPDATE sync SET head = max(head, ?)", (head,))

    def note_journal_end(self, local_lsn: int) -> None:
        """Record durably that all commits up to this one are on the disk: no crash can tear them any more."""
        with self._transaction() as database:
            _note_journal_end(database, local_lsn)

    def retract_journal_end(self, local_lsn: int) -> None:
        """Record durably that the journal may end with this commit: what came after it is taken back."""
        with self._transaction() as database:
            database.execute("UPDATE sync SET journal_end = min(journal_end, ?)", (local_lsn,))

    def note_merge(self, merge: Merge) -> None:
        """Record that a local commit, which is in the journal, is a merge."""
        with self._transaction() as database:
            database.execute("INSERT OR REPLACE INTO merges VALUES (?, ?)", (merge.local_lsn, merge.parents))

    def begin_intent(self, intent: Intent) -> None:
        """Record durably what is about to be appended; the caller has synced the journal up to the commits in it."""
        with self._transaction() as database:
            _note_journal_end(database, intent.local_lsn)
            database.execute("DELETE FROM intent")
            database.execute(
                "INSERT INTO intent VALUES (?, ?, ?, ?, ?)",
                (str(intent.log), intent.lsn, intent.nonce, intent.local_lsn, intent.data),
            )

    def drop_intent(self) -> None:
        """Delete the intent: its append did not land, and never will."""
        with self._transaction() as database:
            database.execute("DELETE FROM intent")

    def move_remote(self, name: str, store_url: str) -> None:
        """Store a new address or name of the volume."""
        with self._transaction() as database:
            database.execute("UPDATE identity SET name = ?, remote = ?", (name, store_url))

    def sync(self) -> None:
        """Make all earlier changes durable."""
        with self._transaction() as database:
            # SQLite does not write, and so does not sync, a row that is replaced by an equal one.
            database.execute("UPDATE sync SET head = head + 1")
            database.execute("UPDATE sync SET head = head - 1")

    def keep_chunks(self, index: CommitIndex) -> None:
        """Store chunks of an index that were read after its head, if it is part of the chain."""
        with self._transaction() as database:
            row = database.execute("SELECT head FROM commits WHERE lsn = ?", (index.commit.lsn,)).fetchone()
            if row and row[0] == index.head:
                _write_chunks(database, index)

    def shrink(self) -> None:
        """Make the database as small as it can be, unless another process is using it."""
        with local_errors(f"shrinking {self._path}"), self._working("shrinking"):
            shrink(self._database)

    def disown(self) -> None:
        """Leave the database to the parent, in the child of a fork."""
        abandon(self._database)
        self._disowned = True
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _working(self, doing: str) -> Iterator[None]:
        with self._lock, database_errors(f"{doing} {self._path}"):
            if self._disowned:
                raise BadRequest(f"{self._path.parent} was opened before a fork; open it again in the new process")
            yield

    @contextmanager
    def _corruption_translated(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError) as error:
            raise Corrupt(f"{self._path}: {error}") from error

    def _read_identity(self) -> Identity:
        row = self._database.execute("SELECT name, remote, volume, log, page_size, earlier FROM identity").fetchone()
        if row is None:
            raise Corrupt(f"{self._path} holds no identity")
        earlier = _PARENTS.validate_json(row[5]) if row[5] != _NO_PARENTS else ()
        return Identity(row[0], row[1], VolumeId.parse(row[2]), LogId.parse(row[3]), row[4], earlier)

    def _read_all(self) -> SyncState:
        identity = self._read_identity()
        sync = self._database.execute("SELECT lsn, local_lsn, head, journal_end FROM sync").fetchone()
        if sync is None:
            raise Corrupt(f"{self._path} holds no sync point")
        chain = [
            self._index(identity.lineage.log_of(lsn), LSN(lsn), head)
            for lsn, head in self._database.execute("SELECT lsn, head FROM commits ORDER BY lsn DESC").fetchall()
        ]
        self._decoded = {LSN(index.commit.lsn): index for index in chain}
        if [index.commit.lsn for index in chain[:1]] != [sync[0]][: sync[0]] or (
            chain and not chain[-1].commit.is_base
        ):
            raise Corrupt(f"{self._path}: commits {[index.commit.lsn for index in chain]} do not lead to LSN {sync[0]}")
        lsn, local_lsn, head, journal_end = sync
        intent = self._read_intent()
        merges = self._read_merges()
        return SyncState(identity, LSN(lsn), local_lsn, LSN(head), tuple(chain), intent, merges, journal_end)

    def _read_merges(self) -> tuple[Merge, ...]:
        rows = self._database.execute("SELECT local_lsn, parents FROM merges ORDER BY local_lsn").fetchall()
        return tuple(Merge(*row) for row in rows)

    def _read_intent(self) -> Intent | None:
        row = self._database.execute("SELECT log, lsn, nonce, local_lsn, data FROM intent").fetchone()
        return Intent(LogId.parse(row[0]), LSN(row[1]), *row[2:]) if row else None

    def _index(self, log: LogId, lsn: LSN, head: bytes) -> CommitIndex:
        index = self._decoded.get(lsn)
        with remote_errors(f"{self._path}: commit {lsn}"):
            if index is None or index.commit.log != log or index.head != head:
                index = CommitIndex.decode(head, log, lsn)
            stored = self._database.execute("SELECT number FROM chunks WHERE lsn = ?", (lsn,)).fetchall()
            lacking = {number for (number,) in stored if index.lacks(number)}
            query = "SELECT number, data FROM chunks WHERE lsn = ?"
            for number, data in self._database.execute(query, (lsn,)) if lacking else ():
                if number in lacking:
                    index.add_chunk(number, data)
        return index

    @contextmanager
    def _transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._working("writing"), self._syncing(durable=durable), write_transaction(self._database):
            yield self._database

    @contextmanager
    def _syncing(self, *, durable: bool) -> Iterator[None]:
        if durable:
            yield
            return
        self._database.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._database.execute("PRAGMA synchronous = FULL")


def _new_database(identity: Identity, lsn: LSN, chain: Sequence[CommitIndex]) -> bytes:
    """Return the content of a new replica's database file."""
    with closing(opened(Path(":memory:"), _SCHEMA, VERSION, synchronous="OFF")) as database:
        database.execute("BEGIN")
        _write_identity(database, identity)
        database.execute("INSERT INTO sync(lsn, local_lsn, head) VALUES (?, 0, ?)", (lsn, lsn))
        _write_chain(database, chain)
        database.execute("COMMIT")
        content = bytearray(database.serialize())
    content[18:20] = _IN_WAL_MODE
    return bytes(content)


def _note_journal_end(database: sqlite3.Connection, local_lsn: int) -> None:
    database.execute("UPDATE sync SET journal_end = max(journal_end, ?)", (local_lsn,))


def _write_identity(database: sqlite3.Connection, identity: Identity) -> None:
    database.execute(
        "INSERT INTO identity(name, remote, volume, log, page_size, earlier) VALUES (?, ?, ?, ?, ?, ?)",
        (
            identity.name,
            identity.store_url,
            str(identity.volume),
            str(identity.log),
            identity.page_size,
            _PARENTS.dump_json(identity.earlier).decode() if identity.earlier else _NO_PARENTS,
        ),
    )  # fmt: skip


def _write_chain(database: sqlite3.Connection, chain: Sequence[CommitIndex]) -> None:
    wanted = {index.commit.lsn: index for index in chain}
    kept = {}
    for lsn, head in database.execute("SELECT lsn, head FROM commits").fetchall():
        if lsn in wanted and wanted[LSN(lsn)].head == head:
            kept[lsn] = True
        else:
            database.execute("DELETE FROM commits WHERE lsn = ?", (lsn,))
            database.execute("DELETE FROM chunks WHERE lsn = ?", (lsn,))
    for lsn, index in wanted.items():
        if lsn not in kept:
            database.execute("INSERT INTO commits VALUES (?, ?)", (lsn, index.head))
            _write_chunks(database, index)


def _write_chunks(database: sqlite3.Connection, index: CommitIndex) -> None:
    database.executemany(
        "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?)",
        [(index.commit.lsn, number, data) for number, data in index.chunks.items()],
    )
