"""`graft fork`: creates a new volume from a version of another."""

from pathlib import Path

import click

from graft.replica.opening import open_replica
from graft.sync.fork import fork as graft_fork
from graft_cli.options import ReplicaPath, as_json, at, command
from graft_cli.output import document, say


@command(
    "fork",
    "graft fork ./airports airports-2026",
    "graft fork before-the-mistake --at 41",
)
@click.argument("where_and_name", metavar="[DIR] NAME", nargs=-1)
@at
@as_json
def fork(where_and_name: tuple[str, ...], at: str | None, as_json: bool) -> None:
    """Create a volume NAME in the same remote from the current version of DIR's volume, local commits included.

    No page is copied in the remote or downloaded. With --at, the new volume starts at that old version instead. DIR
    remains a replica of its own volume.
    """
    match where_and_name:
        case (name,):
            directory = Path()
        case (where, name):
            directory = ReplicaPath().convert(where, None, None)
        case ():
            raise click.UsageError("missing argument 'NAME': the name of the new volume")
        case _:
            raise click.UsageError("expected [DIR] NAME, got more arguments")
    with open_replica(directory) as replica:
        done = graft_fork(replica, name, at=at)
        address = f"{replica.store_url}#{done.name}"
        if as_json:
            document(done, remote=address)
        else:
            start = f"at its LSN {done.lsn}" if done.lsn else "empty"
            say(f"Forked {replica.name} to {done.name}, {start}; to use it: graft clone '{address}'")
