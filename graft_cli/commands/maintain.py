"""`graft maintain`: what cron runs."""

import click

from graft.retention.maintain import VolumeMaintained
from graft.retention.maintain import maintain as graft_maintain
from graft_cli.commands.compact import said
from graft_cli.commands.gc import show
from graft_cli.durations import Duration
from graft_cli.interrupts import interruptible
from graft_cli.options import as_json, command
from graft_cli.output import document, say
from graft_cli.progress import progress
from graft_cli.remote_argument import remote_of
from graft_sqlite_vfs.btree.layout import btree_layout

_WORDS = {"compact": "to be compacted", "consolidate": "scattered pages to be brought together"}


@command("maintain", "graft maintain s3://bucket/data", "graft maintain s3://bucket/data#airports --keep-for 7d")
@click.argument("remote", metavar="REMOTE|DIR")
@click.option("--keep-last", type=click.IntRange(min=1), metavar="COUNT", help="As in graft gc.")
@click.option("--keep-for", type=Duration(), metavar="TIME", help="As in graft gc.")
@click.option("--grace", type=Duration(), metavar="TIME", help="As in graft gc.")
@click.option("-n", "--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@as_json
def maintain(
    remote: str,
    keep_last: int | None,
    keep_for: float | None,
    grace: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Compact the volumes of REMOTE that are scattered or mostly dead, and then collect what no version needs.

    Made for cron: run it as often as you like. A volume that needs nothing costs a few requests. A compaction reads and
    writes all pages of its volume's newest version; one that loses to a push changes nothing.
    """
    address = remote_of(remote)
    with (
        interruptible(lambda: "interrupted: what was to stay is whole; the next run goes on"),
        progress(f"Maintaining {address}", quiet=as_json or dry_run) as report,
    ):
        done = graft_maintain(
            address, keep_last=keep_last, keep_for_s=keep_for, grace_s=grace, dry_run=dry_run, layout=btree_layout,
            progress=report,
        )  # fmt: skip
    if as_json:
        document(done)
        return
    for volume in done.volumes:
        if (words := _told(volume)) is not None:
            say(f"{volume.name}: {words}")
    show(done.collected)


def _told(volume: VolumeMaintained) -> str | None:
    if volume.problem is not None:
        return f"left as it is: {volume.problem}"
    if volume.done is not None:
        return said(volume.done)
    return _WORDS.get(volume.work)
