"""A world in which a program runs twice: on a plain database file, and on a volume. They must agree at each step.

What is expected of a version of the past, or of a snapshot that a connection holds, is what plain SQLite said when it
was the newest one, `integrity_check` included: SQLite finds faults in databases that it made itself (an index on an
expression over ``zeroblob(n)`` in a UTF-16 database, up to 3.54 at least).
"""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

import apsw

from graft.errors import GraftError
from graft.operations.compact import compact
from graft.operations.hydrate import hydrate
from graft.replica.opening import open_replica
from graft.settings import Settings
from graft.sync.pull import pull
from graft.sync.push import push
from graft_sqlite_vfs import connect
from graft_sqlite_vfs.btree.layout import btree_layout

from .program import Program

_names = count()


class Differ(AssertionError):
    """The volume did something else than plain SQLite."""


class Content(NamedTuple):
    """All that a connection sees of its main database."""

    tables: list[tuple]
    integrity: list[tuple]

    @classmethod
    def of(cls, connection: apsw.Connection) -> "Content":
        found: list[tuple] = sorted(
            connection.execute("SELECT type, name, tbl_name, sql FROM main.sqlite_schema"), key=repr
        )
        names = [name for kind, name, _, sql in found if kind == "table"]
        for name in names:
            try:
                info = connection.execute(f'PRAGMA main.table_xinfo("{name}")')
                columns = [row[1] for row in info if row[6] != 1]  # 1: hidden, as the cursor of FTS5 is
                shown = ", ".join(f'typeof("{column}"), hex("{column}")' for column in columns)  # text may be no text
                found += sorted((name, *row) for row in connection.execute(f'SELECT {shown} FROM main."{name}"'))
            except apsw.SQLError as error:  # of a generated column
                found.append((name, str(error)))
        return cls(found, list(connection.execute("PRAGMA main.integrity_check(5)")))


class World:
    """Both databases; a context manager."""

    def __init__(self, program: Program, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.remote = f"memory://random-sql-{next(_names)}"
        self.settings = Settings(**program.settings)
        self.plain = apsw.Connection(str(directory / "plain.db"))
        self.volume = self._connected("v", self.remote + "#v", page_size=program.page_size)
        self._connected("aux", self.remote + "#aux", page_size=program.page_size).close()
        self.there: apsw.Connection | None = None
        """A connection to another replica, whose cache stays warm over pulls."""
        self.pushed: dict[int, Content] = {}
        self.held: tuple[apsw.Connection, Content] | None = None
        for connection in (self.plain, self.volume):
            for pragma in (
                f"PRAGMA page_size={program.page_size}",
                f"PRAGMA auto_vacuum={program.auto_vacuum}",
                f"PRAGMA encoding='{program.encoding}'",
                "CREATE TABLE log(n INTEGER PRIMARY KEY, what)",
                # An empty volume whose page size is not the default takes auto_vacuum by VACUUM only.
                f"PRAGMA auto_vacuum={program.auto_vacuum}",
                "VACUUM",
            ):
                list(connection.execute(pragma))
        aux = apsw.Connection(str(directory / "aux.db"))
        list(aux.execute(f"PRAGMA page_size={program.page_size}; PRAGMA encoding='{program.encoding}'; VACUUM"))
        aux.close()
        self._prepare(self.plain, str(directory / "aux.db"))
        self._prepare(self.volume, str(directory / "aux"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for connection in (self.there, self.held and self.held[0]):
            if connection is not None:
                connection.close()
        self.plain.close()
        self.volume.close()

    def run(self, step: str) -> None:
        """Run a step on both; raises `Differ`."""
        if step.startswith("-- "):
            _, name, number = step.split()
            if not self.plain.in_transaction:
                getattr(self, f"_{name}")(int(number))
            return
        expected, found = _outcome(self.plain, step), _outcome(self.volume, step)
        if found != expected:
            raise Differ(f"{step}\nplain:  {expected!r:.500}\nvolume: {found!r:.500}")
        if self.volume.in_transaction != self.plain.in_transaction:
            raise Differ(f"{step}\nin a transaction: {self.plain.in_transaction} and {self.volume.in_transaction}")

    def check(
        self, connection: apsw.Connection | None = None, expected: Content | None = None, what: str = "now"
    ) -> None:
        """Compare everything that a connection sees."""
        expected = expected or Content.of(self.plain)
        found = Content.of(connection or self.volume)
        if found != expected:
            lost = [row for row in expected.tables if row not in found.tables][:3]
            more = [row for row in found.tables if row not in expected.tables][:3]
            raise Differ(f"{what}: {found.integrity} for {expected.integrity}; lacks {lost!r:.500}, has {more!r:.500}")

    def _connected(self, name: str, remote: str | None = None, **options: object) -> apsw.Connection:
        connection = connect(
            self.directory / name, remote=remote, settings=self.settings, durability=self.program.durability, **options
        )
        connection.set_busy_timeout(0)
        return connection

    def _prepare(self, connection: apsw.Connection, aux: str) -> None:
        for pragma in self.program.pragmas:
            list(connection.execute(pragma))
        connection.execute("ATTACH ? AS aux", (aux,))
        connection.execute("CREATE TABLE IF NOT EXISTS aux.x(a, b)")

    def _pushed(self) -> None:
        with open_replica(self.directory / "v") as replica:
            done = push(replica)
        self.pushed[done.after] = Content.of(self.plain)

    def _push(self, _: int) -> None:
        self._pushed()
        self.check()

    def _pull(self, _: int) -> None:
        self._pushed()
        self.check(self._pulled_there(), what="pulled")

    def _pulled_there(self) -> apsw.Connection:
        if self.there is None:
            self.there = self._connected("there", self.remote + "#v")
        with open_replica(self.directory / "there") as replica:
            pull(replica)
        return self.there

    def _foreign(self, number: int) -> None:
        """Pull what another replica pushed into a connection whose cache is warm."""
        self._pushed()
        self._commit_there(number)
        with open_replica(self.directory / "v") as replica:
            self.pushed[pull(replica).after] = Content.of(self.plain)
        self.check(what="pulled here")

    def _diverge(self, number: int) -> None:
        """Give local commits up for those that another replica pushed."""
        self._pushed()
        before = max(self.pushed)
        if self._commit_there(number) == before:
            return  # it changed nothing, or failed as on plain SQLite
        for sql in (f"DELETE FROM main.log WHERE n % 7 = {number % 7}", "CREATE TABLE main.given_up(a)"):
            _outcome(self.volume, sql)
        if number % 2:
            Content.of(self.volume)
        with open_replica(self.directory / "v") as replica:
            self.pushed[pull(replica, policy="discard").after] = Content.of(self.plain)
        self.check(what="local commits given up")

    def _commit_there(self, number: int) -> int:
        there, plain = self._pulled_there(), apsw.Connection(str(self.directory / "plain.db"))
        name = f"there{next(_names)}"
        sql = (
            f"INSERT INTO main.log(what) VALUES ('{name}')",
            f"UPDATE main.log SET what = '{name}' WHERE n % 5 = {number % 5}",
            f"CREATE TABLE main.{name} AS SELECT 1 AS a, n FROM log LIMIT 3",
            "VACUUM main",
        )[number % 4]
        found, expected = _outcome(there, sql), _outcome(plain, sql)
        plain.close()
        if found != expected:
            raise Differ(f"another replica: {sql}\nplain:  {expected!r:.500}\nvolume: {found!r:.500}")
        with open_replica(self.directory / "there") as replica:
            return push(replica).after

    def _backup(self, number: int) -> None:
        """Replace everything by SQLite's backup of another database, in WAL mode for some numbers."""
        path = self.directory / "source.db"
        source = apsw.Connection(str(path))
        with source.backup("main", self.plain, "main") as backup:
            backup.step()
        if number % 3:
            source.pragma("journal_mode", "wal")
        _outcome(source, f"INSERT INTO log(what) VALUES ('backup {number}')")
        for target in (self.plain, self.volume):
            with target.backup("main", source, "main") as backup:
                while not backup.done:
                    backup.step(number or -1)
        source.close()
        path.unlink()
        self.plain.pragma("journal_mode", "delete", schema="main")
        self.check(what="backup")

    def _blob(self, number: int) -> None:
        found = [_blob_written(connection, number) for connection in (self.plain, self.volume)]
        if found[0] != found[1]:
            raise Differ(f"blob {number}\nplain:  {found[0]!r:.500}\nvolume: {found[1]!r:.500}")

    def _export(self, _: int) -> None:
        path = self.directory / "exported.db"
        list(self.volume.execute(f"PRAGMA graft_export='{path}'"))
        exported = apsw.Connection(str(path))
        self.check(exported, what="exported")
        exported.close()
        path.unlink()

    def _hydrate(self, _: int) -> None:
        with open_replica(self.directory / "v") as replica, contextlib.suppress(GraftError):  # the cache may be small
            hydrate(replica)

    def _past(self, number: int) -> None:
        if not self.pushed:
            return
        lsn = sorted(self.pushed)[number % len(self.pushed)]
        if lsn:
            past = self._connected("v", at=lsn)
            self.check(past, self.pushed[lsn], f"LSN {lsn}")
            past.close()

    def _fork(self, _: int) -> None:
        name = f"fork{next(_names)}"
        list(self.volume.execute(f"PRAGMA graft_fork={name}"))
        forked = self._connected(name, f"{self.remote}#{name}")
        self.check(forked, what="fork")
        forked.execute("CREATE TABLE in_the_fork(a)")
        forked.close()
        shutil.rmtree(self.directory / name)
        self.check()

    def _hold(self, _: int) -> None:
        if self.held is None:
            connection = self._connected("v")
            connection.execute("BEGIN")
            list(connection.execute("SELECT 1 FROM sqlite_schema"))
            self.held = connection, Content.of(self.plain)

    def _release(self, _: int) -> None:
        if self.held is not None:
            connection, expected = self.held
            self.check(connection, expected, "held")
            connection.execute("COMMIT")
            self.check(connection, what="let go")
            connection.close()
            self.held = None

    def _reopen(self, _: int) -> None:
        self.volume.close()
        self.volume = self._connected("v")
        self._prepare(self.volume, str(self.directory / "aux"))
        for pragma in ("foreign_keys", "recursive_triggers", "cache_size"):  # both connections have them alike again
            value = self.plain.pragma(pragma)
            list(self.volume.execute(f"PRAGMA {pragma}={value}"))
        self.check()

    def _compact(self, _: int) -> None:
        with open_replica(self.directory / "v") as replica, contextlib.suppress(GraftError):
            push(replica)
            compact(replica, layout=btree_layout)
        self.check()

    def _evict(self, _: int) -> None:
        if self.held is None:
            self._pushed()
            self.volume.close()
            shutil.rmtree(self.directory / "v" / "cache", ignore_errors=True)
            self.volume = self._connected("v")
            self._prepare(self.volume, str(self.directory / "aux"))
            for pragma in ("foreign_keys", "recursive_triggers", "cache_size"):
                list(self.volume.execute(f"PRAGMA {pragma}={self.plain.pragma(pragma)}"))

    def _other(self, number: int) -> None:
        other, plain = self._connected("v"), apsw.Connection(str(self.directory / "plain.db"))
        sql = f"INSERT INTO main.log(what) VALUES ('other {number}')"
        found, expected = _outcome(other, sql), _outcome(plain, sql)
        other.close()
        plain.close()
        if found != expected:
            raise Differ(f"another connection: {sql}\nplain:  {expected!r:.500}\nvolume: {found!r:.500}")


def _blob_written(connection: apsw.Connection, number: int) -> tuple:
    try:
        with connection.blob_open("main", "log", "what", number + 1, True) as blob:
            blob.seek(blob.length() // 2)
            blob.write(b"blob"[: blob.length() - blob.tell()])
            blob.seek(0)
            return ("blob", blob.read())
    except apsw.Error as error:
        return (type(error).__name__, str(error))


def _outcome(connection: apsw.Connection, sql: str) -> tuple:
    try:
        return ("rows", list(connection.execute(sql)))
    except (apsw.Error, UnicodeDecodeError) as error:
        return (type(error).__name__, str(error))


def run(program: Program, directory: Path) -> None:
    """Run a program in an empty directory; raises `Differ`."""
    with World(program, directory) as world:
        for number, step in enumerate(program.steps):
            world.run(step)
            if number % 10 == 9 and not world.plain.in_transaction:
                world.check()
        if world.plain.in_transaction:
            world.run("ROLLBACK")
        world.run("-- release 0")
        world.run("-- pull 0")
        for number in range(len(world.pushed)):
            world.run(f"-- past {number}")


def failing(program: Program, directory: Path) -> str | None:
    """Run a program; return how it failed, None if it did not."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        run(program, directory)
    except (Differ, AssertionError, GraftError, apsw.Error) as error:
        return f"{type(error).__name__}: {error}"
    return None


def shrunk(program: Program, directory: Path, tries: int = 300) -> Program:
    """Return a program that still fails, with as few steps as can be found (delta debugging)."""
    steps: Sequence[str] = program.steps
    part = max(len(steps) // 2, 1)
    while tries and part:
        start = 0
        while start < len(steps) and tries:
            fewer = (*steps[:start], *steps[start + part :])
            tries -= 1
            if failing(replace(program, steps=fewer), directory) is not None:
                steps = fewer
            else:
                start += part
        part //= 2
    return replace(program, steps=tuple(steps))
