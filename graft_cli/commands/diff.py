"""`graft diff`: the rows that differ between two versions."""

from collections import Counter
from pathlib import Path

import click

from graft_cli.database import sqlite_errors
from graft_cli.human import counted
from graft_cli.options import command, split_directory
from graft_cli.output import as_json_text, document, plain, say
from graft_sqlite_vfs.diff.changeset import changeset
from graft_sqlite_vfs.diff.difference import Difference
from graft_sqlite_vfs.diff.rows import Row, RowChange
from graft_sqlite_vfs.diff.statements import statements
from graft_sqlite_vfs.row_changes import open_diff

_SIGNS = {"insert": "+", "delete": "-", "update": "~"}


@command(
    "diff",
    "graft diff",
    "graft diff 12 15 --stat",
    "graft diff v1 local --table users --json",
    "graft diff main experiment --sql > changes.sql",
)
@click.argument("words", metavar="[A [B]] [DIR]", nargs=-1)
@click.option("--table", "tables", metavar="TABLE", multiple=True, help="Compare only this table; may be repeated.")
@click.option("--stat", "form", flag_value="stat", help="Count the rows that differ in each table.")
@click.option("--rows", "form", flag_value="rows", default=True, help="Show each row that differs (the default).")
@click.option("--sql", "form", flag_value="sql", help="Print SQL statements that turn A into B.")
@click.option("--json", "form", flag_value="json", help="Print one JSON object per row on stdout.")
@click.option(
    "--changeset",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write a changeset for SQLite's session extension to this file.",
)
def diff(words: tuple[str, ...], tables: tuple[str, ...], form: str, file: Path | None) -> None:
    """Show which rows of DIR's volume differ between the versions A and B.

    A version is an LSN, a time, a tag, a branch or BRANCH@VERSION; local is DIR with its local commits, remote is the
    version that they build on. A is remote by default, B is local. The cost follows what differs, not the size of the
    database. Rows are told apart by their declared key, else by their rowid.
    """
    directory, given = split_directory(words)
    if len(given) > 2:
        raise click.UsageError("expected [A [B]] [DIR], and got more")
    with sqlite_errors(), open_diff(directory, *given) as difference:
        wanted = tables or None
        if file is not None:
            _write_changeset(difference, wanted, file)
        elif form == "sql":
            for statement in statements(difference, wanted):
                say(f"{statement};")
        elif form == "json":
            _print_json(difference, wanted)
        elif form == "stat":
            _print_counts(difference, wanted)
        else:
            _print_rows(difference, wanted)


def _write_changeset(difference: Difference, tables: tuple[str, ...] | None, file: Path) -> None:
    content = b"".join(changeset(difference, tables))
    file.write_bytes(content)
    say(f"Wrote {counted(len(content), 'byte')} to {file}")


def _print_json(difference: Difference, tables: tuple[str, ...] | None) -> None:
    if tables is None:
        for change in difference.schema:
            document({"change": "schema"}, **plain(change))
    for row in difference.rows(tables):
        say(as_json_text({
            "change": row.kind, "table": row.table, "key": plain(row.key),
            "before": row.before, "after": row.after,
        }))  # fmt: skip


def _print_counts(difference: Difference, tables: tuple[str, ...] | None) -> None:
    for change in difference.schema if tables is None else ():
        say(f"{_what_changed(change.before, change.after)} {change.type} {change.name}")
    for name in difference.named(tables):
        kinds = Counter(row.kind for row in difference.rows([name]))
        if kinds:
            counts = [f"{_SIGNS[kind]}{kinds[kind]}" for kind in ("insert", "update", "delete") if kinds[kind]]
            say(f"{name}  {' '.join(counts)}")


def _print_rows(difference: Difference, tables: tuple[str, ...] | None) -> None:
    for change in difference.schema if tables is None else ():
        say(f"{_what_changed(change.before, change.after)} {change.type} {change.name}")
    for row in difference.rows(tables):
        key = ", ".join(map(_shown, row.key))
        say(f"{_SIGNS[row.kind]} {row.table} {key}  {_columns(row)}")


def _what_changed(before: str | None, after: str | None) -> str:
    return "+" if before is None else "-" if after is None else "~"


def _columns(row: RowChange) -> str:
    if row.before is None or row.after is None:
        present: Row = row.after or row.before or {}
        return ", ".join(f"{name} = {_shown(value)}" for name, value in present.items())
    pairs = ((name, row.before.get(name), row.after.get(name)) for name in row.changed_columns)
    return ", ".join(f"{name}: {_shown(old)} → {_shown(new)}" for name, old, new in pairs)


def _shown(value: object) -> str:
    return as_json_text(value) if not isinstance(value, bytes) else f"x'{value.hex()}'"
