"""A full example on real data: ``make demo``, or ``make demo REMOTE=s3://bucket/prefix``.

It imports an SQLite database of the world's airports into a volume, pushes it to a bucket, opens it lazily in another
replica, changes it, pulls the change, reads the old version, and forks the volume. Then two replicas write at once,
their rows are merged, and the rows that differ are shown. Each step prints its traffic.
"""

import argparse
import hashlib
import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import airportsdata
import apsw
from rich.console import Console

from graft import (
    GraftError,
    Replica,
    clone,
    export_file,
    fork,
    init,
    pull,
    push,
    snapshot_at,
    verify,
)
from graft_sqlite_vfs import btree_layout, connect, diff_rows, import_database
from pagestore import MeteredStore, StoreTraffic, open_store

console = Console(highlight=False, soft_wrap=True)


@dataclass(slots=True)
class Step:
    """One line of the demo's report."""

    title: str
    answer: str = ""
    pages: int = 0
    """Pages whose bodies were sent or received."""


class Report:
    """Prints each step and its traffic, also as a share of the database's size."""

    def __init__(self, store: MeteredStore) -> None:
        self.store = store
        self.database_bytes = 0

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Measure a step and print it."""
        step, before = Step(title), self.store.snapshot()
        yield step
        moved = self.store.snapshot() - before
        console.print(f"[bold]{step.title}[/bold]")
        if step.answer:
            console.print(f"    {step.answer}")
        console.print(f"    [dim]{self._traffic(moved, step.pages)}[/dim]")

    def _traffic(self, moved: StoreTraffic, pages: int) -> str:
        if not moved.requests:
            return "no requests"
        size = moved.bytes_up + moved.bytes_down
        share = f" = {size / self.database_bytes:.2%} of the database" if self.database_bytes else ""
        return (
            f"{moved.requests} requests, {moved.bytes_up:,} bytes up, {moved.bytes_down:,} bytes down{share}, "
            f"{pages:,} pages"
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--remote", help="an s3:// URL or a directory; by default a directory that is removed at the end"
    )
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="graft-demo-") as directory:
            run(Path(directory), options.remote or os.path.join(directory, "remote"))  # noqa: PTH118 - may be a URL
    except GraftError as error:
        sys.stderr.write(f"demo: failed: {error}\n")
        return 1
    console.print("demo: ok")
    return 0


def run(directory: Path, remote: str) -> None:
    """Run every step; raises if a result is wrong."""
    volume = f"airports-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    console.print(f"remote: {remote}#{volume}\n")
    with ExitStack() as stack:
        demo = Demo(directory, remote, volume, stack)
        demo.import_and_push()
        demo.clone_and_query()
        demo.change_and_pull()
        demo.read_old_version()
        forked = demo.fork_and_write()
        demo.diff_and_merge()
        demo.check(*forked)


class Demo:
    """The steps, in the order in which `run` calls them; ``stack`` closes what they open."""

    def __init__(self, directory: Path, remote: str, volume: str, stack: ExitStack) -> None:
        self.directory = directory
        self.remote = remote
        self.volume = volume
        self.stack = stack
        self.store = MeteredStore(open_store(remote))
        self.report = Report(self.store)
        self.source = directory / "airports.db"
        self.rows = 0
        self.before = 0
        stack.callback(self.store.close)

    def import_and_push(self) -> None:
        """Build the database, import it and push."""
        with self.report.step("1. Build an SQLite database of the world's airports") as step:
            self.rows = build(self.source)
            self.report.database_bytes = self.source.stat().st_size
            step.answer = f"{self.rows:,} airports, {self.report.database_bytes:,} bytes"
        with self.report.step("2. Create a volume and import the database (local)") as step:
            self.first = self.opened(init(self.directory / "first", f"{self.remote}#{self.volume}", store=self.store))
            imported = import_database(self.first, self.source)
            step.answer = f"{imported.pages:,} pages are one local commit"
        with self.report.step("3. Push") as step:
            pushed = push(self.first, message="all airports", layout=btree_layout)
            step.pages = pushed.pages
            step.answer = f"LSN {pushed.after}, one segment of {pushed.bytes:,} bytes"

    def clone_and_query(self) -> None:
        """Clone the volume, and run a query that fetches only the pages that it needs."""
        with self.report.step("4. Clone into a second, empty replica") as step:
            self.second = self.opened(
                clone(self.directory / "second", f"{self.remote}#{self.volume}", store=self.store)
            )
            cached = self.second.cache.use().pages
            step.answer = f"{self.second.snapshot().page_count:,} pages known, {cached:,} cached"
        self.there = self.connected(self.second)
        with self.report.step("5. Query one airport") as step:
            name, city = self.there.execute("SELECT name, city FROM airports WHERE icao = 'KJFK'").get
            step.pages = self.second.cache.use().pages - cached
            step.answer = f"KJFK is {name}, {city}"

    def change_and_pull(self) -> None:
        """Write in one replica, and read the change in the other."""
        here = self.connected(self.first)
        with self.report.step("6. Write a row in the first replica and push it") as step:
            here.execute("UPDATE airports SET name = 'Idlewild' WHERE icao = 'KJFK'")
            pushed = push(self.first, message="remember Idlewild")
            step.pages = pushed.pages
            step.answer = f"LSN {pushed.after}, {'inside the commit' if pushed.inline else 'one segment'}"
        with self.report.step("7. Pull in the second replica: page lists and inline pages") as step:
            cached = self.second.cache.use().pages
            pulled = pull(self.second)
            self.before = pulled.before
            step.pages = self.second.cache.use().pages - cached
            step.answer = f"LSN {pulled.before} → {pulled.after}"
        with self.report.step("8. Read the new row there") as step:
            cached = self.second.cache.use().pages
            name = self.there.execute("SELECT name FROM airports WHERE icao = 'KJFK'").get
            step.pages = self.second.cache.use().pages - cached
            step.answer = f"KJFK is {name}"
            expect(name == "Idlewild", "the second replica does not see the new row")

    def read_old_version(self) -> None:
        """Open and export the database as it was before the change."""
        with self.report.step(f"9. Open the database as it was at LSN {self.before}") as step:
            name = self.connected(self.second, at=self.before).execute(
                "SELECT name FROM airports WHERE icao = 'KJFK'"
            ).get  # fmt: skip
            step.answer = f"KJFK was {name}"
            expect(name != "Idlewild", "the old version changed")
        with self.report.step("10. Export that version") as step:
            cached = self.second.cache.use().pages
            exported = export_file(snapshot_at(self.second, self.before), self.directory / "exported.db")
            same = digest(self.source) == digest(self.directory / "exported.db")
            step.pages = self.second.cache.use().pages - cached
            step.answer = f"{exported.bytes:,} bytes, {'identical to' if same else 'DIFFERENT FROM'} the imported file"
            expect(same, "the exported file differs from the imported one")

    def fork_and_write(self) -> tuple[Replica, apsw.Connection]:
        """Fork without copying a page, and write to the fork."""
        with self.report.step("11. Fork: no page is copied") as step:
            forked = fork(self.second, f"{self.volume}-fork")
            step.answer = f"{forked.name} at LSN {forked.lsn}"
        with self.report.step("12. Write to the fork; the original does not change") as step:
            third = self.opened(clone(self.directory / "third", f"{self.remote}#{forked.name}", store=self.store))
            aside = self.connected(third)
            aside.execute("UPDATE airports SET name = 'Elsewhere' WHERE icao = 'KJFK'")
            pushed = push(third)
            name = self.there.execute("SELECT name FROM airports WHERE icao = 'KJFK'").get
            step.pages = third.cache.use().pages
            step.answer = f"the fork is at LSN {pushed.after}; KJFK is still {name} in the original"
            expect(name == "Idlewild", "the original changed")
        return third, aside

    def diff_and_merge(self) -> None:
        """Write in both replicas at once, and merge the rows."""
        here = self.connected(self.first)
        pull(self.first)
        with self.report.step("13. Write in both replicas; the second one merges what the first one pushed") as step:
            here.execute("UPDATE airports SET city = 'Queens' WHERE icao = 'KJFK'")
            push(self.first)
            self.there.execute("UPDATE airports SET name = 'Kennedy' WHERE icao = 'KJFK'")
            merged = pull(self.second, policy="merge").merged
            push(self.second)
            row = self.there.execute("SELECT name, city FROM airports WHERE icao = 'KJFK'").get
            step.answer = f"KJFK is {row[0]}, {row[1]}; {merged.combined} row has columns of both"
            expect(row == ("Kennedy", "Queens"), "the merge lost a change")
        with self.report.step("14. Show the rows that differ between two versions") as step:
            changes = list(diff_rows(self.second.path, self.before, "local"))
            (change,) = changes
            step.answer = f"{change.kind} {change.key[0]!r}: {', '.join(change.changed_columns)}"
            expect(set(change.changed_columns) == {"name", "city"}, "the difference is wrong")

    def check(self, third: Replica, aside: apsw.Connection) -> None:
        """Verify every checksum, and let SQLite check both databases."""
        with self.report.step("15. Check everything") as step:
            report = verify(third)
            expect(not report.problems, "; ".join(report.problems))
            for connection in (self.there, aside):
                expect(connection.pragma("integrity_check") == "ok", "a database is damaged")
            step.pages = report.pages
            step.answer = f"{report.frames} frames verified, integrity_check ok"

    def connected(self, replica: Replica, at: int | None = None) -> apsw.Connection:
        """Open a replica as a database."""
        connection = connect(replica.path, at=at)
        self.stack.callback(connection.close)
        return connection

    def opened(self, replica: Replica) -> Replica:
        """Return a replica, and close it at the end."""
        self.stack.callback(replica.close)
        return replica


def build(path: Path) -> int:
    """Create the database; return its number of rows."""
    airports = airportsdata.load()
    columns = list(next(iter(airports.values())))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"CREATE TABLE airports({', '.join(columns)}, PRIMARY KEY (icao)) WITHOUT ROWID")
        connection.executemany(
            f"INSERT INTO airports VALUES ({', '.join('?' * len(columns))})",
            [tuple(airport.values()) for airport in airports.values()],
        )
        connection.execute("CREATE INDEX by_country ON airports(country, city)")
    connection.close()
    return len(airports)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expect(holds: bool, otherwise: str) -> None:
    """Fail the demo with a reason unless a condition holds."""
    if not holds:
        raise GraftError(otherwise)


if __name__ == "__main__":
    sys.exit(main())
