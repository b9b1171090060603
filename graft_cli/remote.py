"""`graft remote`: where the volume of a replica is."""

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
    """Show where the volume of DIR is, or set another address for it: graft remote set REMOTE [DIR].

    Use it after the remote was moved. REMOTE must hold the same volume, with the commit that DIR builds on; without
    #name it keeps its name. If only the name object is missing there, it is written again. Nobody may have DIR open.
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
    say(f"{directory} is a replica of {done.after} now, no longer {done.before}")
    if done.named:
        say("The name object was missing there, and was written again")


def _show(directory: Path, *, as_json: bool) -> None:
    with open_replica(directory) as replica:
        if as_json:
            document({"remote": replica.remote_address, "volume": str(replica.volume), "log": str(replica.log)})
        else:
            say(replica.remote_address)
