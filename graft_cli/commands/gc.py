"""`graft gc` and `graft pin`: what a remote keeps."""

from pathlib import Path

import click

from graft.replica.opening import open_replica
from graft.retention.collect import CollectResult
from graft.retention.collect import collect as graft_collect
from graft.retention.pinning import pin as graft_pin
from graft_cli.durations import Duration
from graft_cli.human import counted, moment, size
from graft_cli.interrupts import interruptible
from graft_cli.options import as_json, at, command, directory
from graft_cli.output import document, say
from graft_cli.progress import progress
from graft_cli.remote_argument import remote_of
from graft_cli.rows import Table


@command(
    "gc",
    "graft gc s3://bucket/data --dry-run",
    "graft gc s3://bucket/data#airports --keep-last 20 --keep-for 7d",
)
@click.argument("remote", metavar="REMOTE|DIR")
@click.option("--keep-last", type=click.IntRange(min=1), metavar="COUNT", help="Keep so many of the newest versions.")
@click.option(
    "--keep-for", type=Duration(), metavar="TIME", help="Keep what was the newest within this time (7d, 12h)."
)
@click.option(
    "--grace",
    type=Duration(),
    metavar="TIME",
    help="Leave objects that no commit names alone for this time; less than 1d only while nobody pushes.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Delete nothing; tell what would go, and why the rest stays.")
@click.option("-v", "--verbose", is_flag=True, help="List each object.")
@as_json
def gc(
    remote: str,
    keep_last: int | None,
    keep_for: float | None,
    grace: float | None,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Delete what no retained version of REMOTE's volumes needs: commits, segments, what failed pushes left behind.

    A version stays if either rule keeps it, or if a tag, a branch or a pin needs it; the newest always does. Without
    rules, the newest 100 versions and those of 30 days stay. With the address of one volume, or a replica of it, the
    rules apply to this volume alone. Ages are judged by the store's clock. Two at once do no harm, and one that was
    interrupted is continued by the next.
    """
    address = remote_of(remote)
    with (
        interruptible(lambda: "interrupted: what was to stay is whole; the next graft gc goes on"),
        progress(f"Collecting in {address}", quiet=as_json or dry_run) as report,
    ):
        done = graft_collect(
            address, keep_last=keep_last, keep_for_s=keep_for, grace_s=grace, dry_run=dry_run, progress=report
        )
    if as_json:
        document(done, kept_for=done.kept_for, dead_bytes=done.dead_bytes)
    else:
        show(done, verbose=verbose)


def show(done: CollectResult, *, verbose: bool = False) -> None:
    """Tell what a collection did."""
    for volume in done.volumes:
        older = f", and {', '.join(map(str, volume.older))}" if volume.older else ""
        say(f"{volume.name}: LSN {volume.floor} to {volume.head}{older} stay")
    gone = ", ".join(
        counted(count, what)
        for count, what in (
            (done.commits, "commit"),
            (done.segments, "segment"),
            (done.tombstones, "old tombstone"),
            (done.uploads, "unfinished upload"),
        )
        if count
    )
    verb = "Would delete" if done.dry_run else "Deleted"
    say(f"{verb} {gone}: {size(max(done.freed_bytes, 0))}" if gone else "Nothing to delete")
    say(f"{counted(done.kept_objects, 'object')} of {size(done.kept_bytes)} stay")
    if 4 * done.dead_bytes > done.kept_bytes:
        say(f"{size(done.dead_bytes)} of that is read by no version: graft maintain rewrites what is live in it")
    if verbose:
        for mark, items in (("-", done.going), (" ", done.kept)):
            for item in items:
                say(f"{mark} {item.key}  {size(item.bytes)}  {item.why}")
    elif done.dry_run and done.kept_objects:
        table = Table()
        table.begin(["objects", "bytes", "why they stay"])
        for kept in done.kept_for:
            table.row([kept.objects, kept.bytes, kept.why])
        table.end()


@command("pin", "graft pin ./airports --at 41 --for 6h")
@directory
@at
@click.option(
    "--for", "for_s", type=Duration(), default=24 * 3600.0, show_default="1d", metavar="TIME", help="How long."
)
@as_json
def pin(directory: Path, at: str | None, for_s: float, as_json: bool) -> None:
    """Keep a version of DIR's volume, by default the one that DIR is on, in the remote
    for a while, whatever graft gc would do, for a long read of it.

    The time counts by the store's clock. A pin ends by itself.
    """
    with open_replica(directory) as replica:
        made = graft_pin(replica, at=at, ttl_s=for_s)
        expires_s = made.expires_s
    if as_json:
        document({"lsn": made.lsn, "expires": moment(int(expires_s * 1e6))})
    else:
        say(f"LSN {made.lsn} stays until {moment(int(expires_s * 1e6))}")
