"""`graft import` and `graft export`: copy plain files into and out of volumes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from graft.errors import OtherVolume
from graft.operations.transfer import export_file, import_file, require_no_newer_changes
from graft.remote.address import is_same_volume, parse_remote
from graft.replica.directory import is_replica
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.clone import init
from graft.sync.push import PushResult
from graft.sync.push import push as graft_push
from graft.sync.time_travel import snapshot_at
from graft_cli.commands.sync import say_pushed, what_a_push_left
from graft_cli.human import counted, size
from graft_cli.interrupts import interruptible
from graft_cli.new_remote import reporting_new_remote
from graft_cli.options import ReplicaPath, as_json, at, command
from graft_cli.output import document, say
from graft_cli.progress import progress
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.importing import database_page_size, import_database
from pagestore.pages import PAGE_SIZE_DEFAULT


@command(
    "import",
    "graft import airports.db ./airports s3://bucket/data#airports --push",
    'graft import airports.db ./airports --replace -m "data of October" --push',
    "graft import --raw movie.mp4 ./movie ./remote",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", metavar="DIR", type=ReplicaPath())
@click.argument("remote", required=False)
@click.option(
    "--raw", is_flag=True, help="Import any file, byte for byte; without this, FILE must be an SQLite database."
)
@click.option("--replace", is_flag=True, help="Replace the content of a volume that is not empty.")
@click.option("--push", "push_too", is_flag=True, help="Push afterwards.")
@click.option("-m", "--message", help="The message of the pushed commit.")
@as_json
def import_(
    file: Path,
    directory: Path,
    remote: str | None,
    raw: bool,
    replace: bool,
    push_too: bool,
    message: str | None,
    as_json: bool,
) -> None:
    """Make FILE the content of the volume whose replica is DIR, as one local commit.

    If DIR is not a replica yet, a new volume is created in REMOTE first, with FILE's page size. A volume that is not
    empty needs --replace (its old content stays in its history), and its local commits must have been pushed. SQLite
    may use FILE at the same time; changes in its WAL are imported too.
    """
    if message is not None and not push_too:
        raise click.UsageError("--message needs --push")
    if raw:
        require_no_newer_changes(file)
    page_size = PAGE_SIZE_DEFAULT if raw else database_page_size(file)
    with reporting_new_remote(remote, quiet=as_json), _replica(directory, remote, page_size) as (replica, created):
        load = import_file if raw else import_database
        with (
            interruptible(lambda: "interrupted: nothing was imported, the volume is unchanged"),
            progress(f"Importing {file.name}", of_bytes=True, quiet=as_json) as report,
        ):
            done = load(replica, file, replace=replace, progress=report)
        pushed = None
        if not as_json:
            say(f"Imported {file} ({size(done.bytes)}, {counted(done.pages, 'page')}) into {replica.remote_address}")
        if push_too:
            pushed = _pushed(replica, message, quiet=as_json)
        if as_json:
            document(done, replica=str(replica.path), remote=replica.remote_address, created=created, pushed=pushed)
        elif pushed:
            say_pushed(pushed)
        else:
            say(f"The import is a local commit; to send it to the remote: graft push {directory}")


@command(
    "export",
    "graft export ./airports airports.db",
    "graft export ./airports old.db --at 12",
)
@click.argument("directory", metavar="DIR", type=ReplicaPath())
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@at
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@as_json
def export(directory: Path, file: Path, at: str | None, force: bool, as_json: bool) -> None:
    """Write a version of DIR's volume to FILE, a plain SQLite database (or the raw file that was imported).

    The version is the newest, local commits included, or the one --at an LSN or time. FILE appears only once it is
    complete.
    """
    with open_replica(directory) as replica:
        snapshot = replica.snapshot() if at is None else snapshot_at(replica, at)
        with (
            interruptible(lambda: f"interrupted: {file} was not written"),
            progress(f"Exporting {replica.name}", of_bytes=True, quiet=as_json) as report,
        ):
            done = export_file(snapshot, file, progress=report, overwrite=force)
        if as_json:
            document(done, file=str(file), lsn=snapshot.lsn, local_commits=snapshot.local_commits)
        else:
            say(f"Exported {snapshot.describe()} to {file} ({size(done.bytes)}, {counted(done.pages, 'page')})")


@contextmanager
def _replica(directory: Path, remote: str | None, page_size: int) -> Iterator[tuple[Replica, bool]]:
    """Open or create the replica; yield it, and whether it was created."""
    if not is_replica(directory):
        if remote is None:
            raise click.UsageError(f"{directory} is not a replica yet: give the REMOTE in which to create a volume")
        with init(directory, remote, page_size=page_size) as replica:
            yield replica, True
        return
    with open_replica(directory) as replica:
        if remote is not None:
            wanted = parse_remote(remote)
            if not is_same_volume(replica.store_url, replica.name, wanted):
                raise OtherVolume(f"{directory} is a replica of {replica.remote_address}, not of {wanted}")
        yield replica, False


def _pushed(replica: Replica, message: str | None, *, quiet: bool) -> PushResult:
    with (
        interruptible(lambda: what_a_push_left(replica)),
        progress(f"Pushing {replica.name}", of_bytes=True, quiet=quiet) as report,
    ):
        return graft_push(replica, message=message, layout=btree_layout, progress=report)
