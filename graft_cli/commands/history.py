"""`graft changes`, `history` and `blame`: who changed which rows when."""

import json
from pathlib import Path
from typing import Any

import click

from graft.errors import BadRequest
from graft_cli.database import sqlite_errors
from graft_cli.human import moment
from graft_cli.options import as_json, as_json_lines, command, directory, split_directory
from graft_cli.output import as_json_text, document, plain, say
from graft_cli.rows import Table
from graft_sqlite_vfs.history.blame import Blamed
from graft_sqlite_vfs.history.blame import blame as blame_rows
from graft_sqlite_vfs.history.feed import RowChanged, SchemaChanged
from graft_sqlite_vfs.history.feed import changes as feed_of
from graft_sqlite_vfs.history.row_history import row_history


@command(
    "changes",
    "graft changes --since 12 --json",
    "graft changes --since v3 --table users --follow --json | my-program",
)
@directory
@click.option("--since", default="0", metavar="VERSION", help="Begin after this version: an LSN, a tag, a time, …")
@click.option("--table", "tables", metavar="TABLE", multiple=True, help="Only rows of this table; may be repeated.")
@click.option("--follow", is_flag=True, help="Wait for new commits until Ctrl-C.")
@click.option(
    "--poll", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, metavar="SECONDS",
    help="With --follow: how often to ask the remote.",
)  # fmt: skip
@as_json_lines
def changes(directory: Path, since: str, tables: tuple[str, ...], follow: bool, poll: float, as_json: bool) -> None:
    """Print what each commit of DIR's volume changed, row by row, oldest first.

    The LSN of a record is the position to go on from: --since LSN continues after that commit, so start again with the
    LSN before the one whose records were not all handled. Local commits are not included before they are pushed.
    """
    with sqlite_errors():
        for change in feed_of(directory, since, tables=tables or None, follow=follow, poll_s=poll):
            if as_json:
                say(as_json_text(_facts(change)))
            else:
                say(_line(change))


@command("history", "graft history users 17", "graft history places '[\"FR\", 75]' ./airports --json")
@click.argument("words", metavar="TABLE KEY [DIR]", nargs=-1)
@as_json
def history(words: tuple[str, ...], as_json: bool) -> None:
    """Show every value that a row of DIR's volume had, newest first, and the commits that gave them.

    KEY is the row's primary key, else its rowid: a number, a text, or a JSON array for a key of several columns. A text
    that looks like a number needs JSON's quotes where its column has no type.
    """
    directory, given = split_directory(words)
    if len(given) != 2:
        raise click.UsageError("expected TABLE KEY [DIR]")
    with sqlite_errors():
        found = list(row_history(directory, given[0], _key(given[1])))
    if as_json:
        document({"history": [plain(one) for one in found]})
    elif not found:
        raise BadRequest(f"table {given[0]} never had a row {given[1]}")
    for one in () if as_json else found:
        value = "deleted" if one.row is None else as_json_text(one.row)
        say(f"{_where(one.lsn, one.time_us, one.author)}  {value}")


@command("blame", "graft blame users", "graft blame users 17 ./airports")
@click.argument("words", metavar="TABLE [KEY] [DIR]", nargs=-1)
@as_json
def blame(words: tuple[str, ...], as_json: bool) -> None:
    """Show which commit last changed each row of a table, or the row with a key, the latest change first.

    KEY as for graft history. Commits are compared backwards until every row has its own.
    """
    directory, given = split_directory(words)
    if not 1 <= len(given) <= 2:
        raise click.UsageError("expected TABLE [KEY] [DIR]")
    key = _key(given[1]) if len(given) > 1 else None
    with sqlite_errors():
        found = list(blame_rows(directory, given[0], key))
    if as_json:
        document({"rows": [plain(one) for one in found]})
        return
    table = Table()
    table.begin(["key", "LSN", "time", "author"])
    for one in found:
        table.row(_row(one))
    table.end()


def _key(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float | str | list) and not isinstance(value, bool) else text


def _facts(change: RowChanged | SchemaChanged) -> dict[str, Any]:
    if isinstance(change, SchemaChanged):
        return {"lsn": change.lsn, "time_us": change.time_us, "change": "schema"} | {
            name: getattr(change, name) for name in ("type", "name", "before", "after")
        }
    return {name: plain(getattr(change, name)) for name in RowChanged.__dataclass_fields__}


def _line(change: RowChanged | SchemaChanged) -> str:
    start = f"{change.lsn}  {moment(change.time_us)}" if change.time_us is not None else str(change.lsn)
    if isinstance(change, SchemaChanged):
        return f"{start}  schema {change.type} {change.name}"
    key = ", ".join(as_json_text(value) for value in change.key)
    return f"{start}  {change.change} {change.table} {key}  {as_json_text(change.after or change.before)}"


def _where(lsn: int | None, time_us: int | None, author: str | None) -> str:
    parts = ["local" if lsn is None else str(lsn), "" if time_us is None else moment(time_us), author or ""]
    return "  ".join(part for part in parts if part)


def _row(one: Blamed) -> tuple[str, str, str, str]:
    key = ", ".join(as_json_text(value) for value in one.key)
    time = "" if one.time_us is None else moment(one.time_us)
    return key, "local" if one.lsn is None else str(one.lsn), time, one.author or ""
