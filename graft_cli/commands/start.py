"""`graft init` and `graft clone`: create replicas."""

from pathlib import Path

import click

from graft.remote.address import parse_remote
from graft.replica.replica import Replica
from graft.sync.clone import clone as graft_clone
from graft.sync.clone import init as graft_init
from graft_cli.human import counted, size
from graft_cli.interrupts import interruptible
from graft_cli.new_remote import reporting_new_remote
from graft_cli.options import ReplicaPath, as_json, command
from graft_cli.output import document, say
from graft_cli.progress import working
from pagestore.pages import PAGE_SIZE_DEFAULT


@command("init", "graft init ./notes s3://bucket/data#notes")
@click.argument("directory", metavar="DIR", type=ReplicaPath())
@click.argument("remote")
@click.option(
    "--page-size",
    default=PAGE_SIZE_DEFAULT,
    show_default=True,
    metavar="BYTES",
    help="SQLite's page size: a power of two from 512 to 65536; it can never change.",
)
@as_json
def init(directory: Path, remote: str, page_size: int, as_json: bool) -> None:
    """Create a new, empty volume in REMOTE and a replica of it in DIR.

    First checks that the server honours conditional writes. Without #name, the volume gets the name of DIR. DIR must
    be empty or not exist.
    """
    with reporting_new_remote(remote, quiet=as_json), graft_init(directory, remote, page_size=page_size) as replica:
        _made(replica, "Created", as_json=as_json)


@command(
    "clone",
    "graft clone s3://bucket/data#airports",
    "graft clone ./remote#airports ./elsewhere",
)
@click.argument("remote")
@click.argument("directory", metavar="[DIR]", required=False, type=ReplicaPath())
@as_json
def clone(remote: str, directory: Path | None, as_json: bool) -> None:
    """Create a replica of the volume REMOTE in DIR, by default a directory with the volume's name.

    Fetches only the list of pages. A page is fetched when a query first touches it; graft hydrate fetches them all.
    """
    name = parse_remote(remote).volume
    if directory is None:
        if name is None:
            raise click.UsageError(f"name the volume, as in {remote}#name, or give a directory with the volume's name")
        directory = Path(name)
    with (
        interruptible(lambda: f"interrupted: if {directory} exists, delete it before you try again"),
        working("Reading the list of pages", quiet=as_json),
        graft_clone(directory, remote) as replica,
    ):
        _made(replica, "Cloned", as_json=as_json)


def _made(replica: Replica, verb: str, *, as_json: bool) -> None:
    snapshot = replica.snapshot()
    if as_json:
        facts = {
            "replica": str(replica.path), "name": replica.name, "remote": replica.remote_address,
            "volume": replica.volume, "log": replica.log, "page_size": replica.page_size,
            "page_count": snapshot.page_count, "byte_size": snapshot.byte_size, "lsn": snapshot.lsn,
        }  # fmt: skip
        document(facts)
        return
    say(f"{verb} {replica.remote_address} in {replica.path}")
    what = f"{size(snapshot.byte_size)} at LSN {snapshot.lsn}" if snapshot.lsn else "empty"
    say(f"{what}; {counted(replica.page_size, 'byte')} a page")
