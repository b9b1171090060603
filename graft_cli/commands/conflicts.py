"""`graft conflicts` and `graft resolve`: what a merge with --conflicts record left to decide."""

from pathlib import Path
from typing import Literal

import click

from graft_cli.database import database, sqlite_errors
from graft_cli.options import as_json, command, directory
from graft_cli.output import as_json_text, document, plain, say
from graft_sqlite_vfs.merge.record import recorded
from graft_sqlite_vfs.merge.record import resolve as resolve_recorded


@command("conflicts", "graft conflicts", "graft conflicts ./airports --json")
@directory
@as_json
def conflicts(directory: Path, as_json: bool) -> None:
    """List the conflicts that a merge recorded in DIR's database: what was there, what ours and theirs made of it.

    Resolve one with graft resolve, or by SQL: change the row, and delete the conflict from the table graft_conflicts.
    """
    with sqlite_errors(), database(str(directory), None) as connection:
        found = recorded(connection)
    if as_json:
        document({"conflicts": [plain(one) for one in found]})
        return
    for one in found:
        key = ", ".join(map(str, one.key))
        say(f"{one.id}  {one.table} {key}: {one.kind}{': ' if one.detail else ''}{one.detail}")
        for name, row in (("base", one.base), ("ours", one.ours), ("theirs", one.theirs)):
            say(f"    {name:6} {'no row' if row is None else as_json_text(row)}")
    if not found:
        say("No conflicts are recorded here")


@command("resolve", "graft resolve 1f0c6a3e9b7d2c54 --ours", "graft resolve 1f0c6a3e9b7d2c54 --theirs ./airports")
@click.argument("name", metavar="ID")
@directory
@click.option("--ours", "take", flag_value="ours", help="Give the row the values that our side had.")
@click.option("--theirs", "take", flag_value="theirs", help="Leave the row as it is.")
@as_json
def resolve(name: str, directory: Path, take: Literal["ours", "theirs"] | None, as_json: bool) -> None:
    """Settle the recorded conflict ID, as one local commit. graft conflicts lists the ids."""
    if take is None:
        raise click.UsageError("say which side to take: --ours or --theirs")
    with sqlite_errors(), database(str(directory), None) as connection:
        done = resolve_recorded(connection, name, take)
    if as_json:
        document(done)
    else:
        say(f"Resolved {done.table} {', '.join(map(str, done.key))}: took {take}")
