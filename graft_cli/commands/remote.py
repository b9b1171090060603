"""`graft remote`: shows or changes the address of a replica's volume."""

from pathlib import Path

import click

from graft.replica.opening import open_replica
from graft.sync.set_remote import set_remote
from graft_cli.options import as_json, command
from graft_cli.output import document, say


@command(
    "remote",
    "graft remote show ./airports",
    "graft remote set s3://bucket/data#airports ./airports",
)
@click.argument("action", type=click.Choice(("show", "set")), default="show")
@click.argument("arguments", metavar="[REMOTE] [DIR]", nargs=-1)
@as_json
def remote(action: str, arguments: tuple[str, ...], as_json: bool) -> None:
    """Show the address of DIR's volume, or set another one: graft remote set REMOTE [DIR].

    Use it after the remote was moved. REMOTE must hold the same volume, with the commit that DIR is based on; without
    #name, the volume's name stays. If only the name object is missing there, it is written again. No process may have
    DIR open.
    """
    if action == "show":
        if len(arguments) > 1:
            raise click.UsageError("expected graft remote show [DIR]")
        _show(Path(arguments[0] if arguments else "."), as_json=as_json)
        return
    if not 1 <= len(arguments) <= 2:
        raise click.UsageError("expected graft remote set REMOTE [DIR]")
    directory = Path(arguments[1] if len(arguments) > 1 else ".")
    done = set_remote(directory, arguments[0])
    if as_json:
        document(done)
        return
    say(f"{directory} is now a replica of {done.after}, no longer of {done.before}")
    if done.named:
        say("The name object was missing there, and was written again")


def _show(directory: Path, *, as_json: bool) -> None:
    with open_replica(directory) as replica:
        if as_json:
            document({"remote": replica.remote_address, "volume": str(replica.volume), "log": str(replica.log)})
        else:
            say(replica.remote_address)
