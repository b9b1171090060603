"""`graft volumes`, `du`, `rm`, `mv` and `cp`: volumes as things that one manages."""

from pathlib import Path

import click

from graft.errors import BadRequest, remote_errors
from graft.remote.address import RemoteAddress, parse_remote
from graft.remote.near_names import no_directory
from graft.remote.remote import opened_remote
from graft.replica.directory import is_replica
from graft.replica.opening import open_replica
from graft.retention.copying import copy_volume
from graft.retention.remove import remove_volume, rename_volume
from graft.retention.usage import VolumeInfo, storage_use, volume_details
from graft.sync.set_remote import set_remote
from graft_cli.human import counted, moment, size
from graft_cli.interrupts import interruptible
from graft_cli.options import as_json, command
from graft_cli.output import document, say
from graft_cli.progress import progress
from graft_cli.remote_argument import remote_of, volume_of
from graft_cli.root import complain
from graft_cli.rows import Table
from metastore.volumes import list_volumes
from pagestore.urls import local_directory


@command("volumes", "graft volumes s3://bucket/data", "graft volumes s3://bucket/data --long")
@click.argument("remote")
@click.option("-l", "--long", is_flag=True, help="With size, newest LSN, age, parent and forks; two requests a volume.")
@as_json
def volumes(remote: str, long: bool, as_json: bool) -> None:
    """List the volumes of REMOTE by name."""
    address = parse_remote(remote)
    if address.volume is not None:
        raise click.UsageError(f"expected a remote without a volume's name: {address.store_url}")
    if is_replica(remote):
        with open_replica(remote) as replica:
            raise BadRequest(f"{remote} is a replica of {replica.remote_address}: graft volumes {replica.store_url}")
    directory = local_directory(address.store_url)
    if directory is not None and not directory.is_dir():
        raise BadRequest(no_directory(directory))
    if long:
        _list_long(address, as_json=as_json)
        return
    with (
        opened_remote(address.store_url) as opened,
        remote_errors(f"listing the volumes of {address.store_url}"),
    ):
        names = list_volumes(opened.store)
    if as_json:
        document({"remote": address.store_url, "volumes": names})
    else:
        for name in names:
            say(name)
        _say_if_none(address, names)


def _list_long(address: RemoteAddress, *, as_json: bool) -> None:
    found = volume_details(address)
    if as_json:
        document({"remote": address.store_url, "volumes": found})
        return
    if found:
        table = Table()
        table.begin(["name", "size", "head", "versions", "changed", "parent", "forks", "state"])
        for volume in found:
            table.row(_row(volume))
        table.end()
    _say_if_none(address, [volume.name for volume in found])


def _row(volume: VolumeInfo) -> list[int | str]:
    return [
        volume.name,
        size(volume.byte_size),
        volume.head,
        volume.versions,
        moment(volume.changed_us) if volume.changed_us is not None else "never",
        volume.parent or "",
        ", ".join(volume.forks),
        volume.state,
    ]


def _say_if_none(address: RemoteAddress, names: list[str]) -> None:
    if not names:
        complain(f"there are no volumes in {address.store_url}")


@command("du", "graft du s3://bucket/data", "graft du ./airports")
@click.argument("remote", metavar="REMOTE|DIR")
@as_json
def du(remote: str, as_json: bool) -> None:
    """Show how many bytes the volumes of REMOTE take in it, and how many no version needs.

    A volume's own bytes are those that removing it would free; forks share the rest. Reads the index of every version.
    """
    found = storage_use(remote_of(remote))
    if as_json:
        document(found)
        return
    table = Table()
    table.begin(["name", "bytes", "own", "newest", "history", "objects", "versions"])
    for volume in found.volumes:
        table.row([
            volume.name, size(volume.bytes), size(volume.exclusive_bytes), size(volume.newest_bytes),
            size(volume.history_bytes), volume.objects, volume.versions,
        ])  # fmt: skip
    table.end()
    say(f"{size(found.bytes)} in all; {size(found.unneeded_bytes)} in objects that no version needs (graft gc)")
    say(f"{size(found.dead_bytes)} in frames that no version reads (graft maintain)")


@command("rm", "graft rm s3://bucket/data#old")
@click.argument("remote", metavar="REMOTE#VOLUME")
@as_json
def rm(remote: str, as_json: bool) -> None:
    """Remove a volume from its remote, with all its versions and tags.

    Refused while forks need pages of it. Replicas stay where they are, and cannot push any more. An interrupted removal
    is finished by the same command, or by graft gc.
    """
    address = volume_of(remote)
    with (
        interruptible(lambda: "interrupted: the volume is partly removed; graft rm or graft gc goes on"),
        progress(f"Removing {address}", quiet=as_json) as report,
    ):
        done = remove_volume(address, progress=report)
    if as_json:
        document(done)
    elif done.only_name:
        say(f"Removed the name {done.name}; the volume goes on under its other name")
    else:
        what = f"{counted(done.commits, 'commit')}, {counted(done.segments, 'segment')}"
        say(f"Removed {done.name} at LSN {done.versions}: {what}, {size(max(done.freed_bytes, 0))}")


@command("mv", "graft mv s3://bucket/data#app app-2026", "graft mv ./airports ports")
@click.argument("remote", metavar="REMOTE#VOLUME|DIR")
@click.argument("name")
@as_json
def mv(remote: str, name: str, as_json: bool) -> None:
    """Give a volume another NAME in its remote; nothing is copied.

    Named by a replica, that is told too; other replicas learn it by graft remote set. An interrupted renaming leaves
    both names, and is finished by the same command.
    """
    address = volume_of(remote)
    if "#" in name or "://" in name:
        raise click.UsageError(f"a name, not an address: {name}")
    done = rename_volume(address, name)
    replica = Path(remote) if "#" not in remote and "://" not in remote and is_replica(Path(remote)) else None
    if replica is not None:
        set_remote(replica, done)
    if as_json:
        document({"before": str(address), "after": str(done)})
    else:
        say(f"{address} is {done} now")
        if replica is None:
            say(f"Replicas of it need: graft remote set '{done}' DIR")


@command(
    "cp",
    "graft cp s3://bucket/data#app ./backup",
    "graft cp ./airports s3://other/data#airports --history",
)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--history", is_flag=True, help="Copy all versions and tags, as they are; again, what is new.")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Read the copy back and check it.")
@as_json
def cp(source: str, target: str, history: bool, verify: bool, as_json: bool) -> None:
    """Copy the volume SRC, or the one of a replica, to DST: another remote, or another name in the same one.

    The newest version becomes a volume of its own; a copy in the same remote copies no segments. With --history the
    copy has the same identity, so that graft remote set leads replicas to it. Local commits are not copied. An
    interrupted copy is continued by the same command: what arrived is not sent again.
    """
    address = volume_of(source)
    with (
        interruptible(lambda: "interrupted: the same command goes on"),
        progress(f"Copying {address}", quiet=as_json) as report,
    ):
        done = copy_volume(address, target, history=history, verify=verify, progress=report)
    if as_json:
        document(done)
        return
    said = f"Copied {done.source} to {done.target}, at LSN {done.lsn}: {counted(done.versions, 'version')}, "
    said += f"{counted(done.segments, 'segment')}, {size(done.sent_bytes)} sent"
    if done.verified_pages is not None:
        said += f"; {counted(done.verified_pages, 'page')} read back and checked"
    say(said)
