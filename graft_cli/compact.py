"""`graft compact`: the same content, laid out anew."""

from pathlib import Path

import click

from graft.operations.compact import CompactResult
from graft.operations.compact import compact as graft_compact
from graft.replica.opening import open_replica
from graft_cli.human import counted, size
from graft_cli.interrupts import interruptible
from graft_cli.options import as_json, command, directory
from graft_cli.output import document, say
from graft_cli.progress import progress
from graft_sqlite_vfs.btree.layout import btree_layout


@command(
    "compact",
    "graft compact ./airports",
    "graft compact --scattered ./airports",
)
@directory
@click.option("--scattered", is_flag=True, help="Rewrite only pages whose frames have little else that is live.")
@click.option("-m", "--message", help="The message of the commit.")
@as_json
def compact(directory: Path, scattered: bool, message: str | None, as_json: bool) -> None:
    """Write the newest version of DIR's volume anew, so that who reads it cold needs few requests.

    The content stays the same, and so does every older version: nothing is deleted, and the bucket grows by the size of
    what is rewritten. The result is a commit like any other; if somebody else pushes first, the exit code is 3 and
    nothing has changed. Local commits must be pushed before. graft audit tells when it is worth it.
    """
    with open_replica(directory) as replica:
        with (
            interruptible(lambda: "interrupted: the volume is as it was, or compacted; the content is the same"),
            progress(f"Compacting {replica.name}", quiet=as_json) as report,
        ):
            done = graft_compact(
                replica, layout=btree_layout, scattered_only=scattered, message=message, progress=report
            )
        if as_json:
            document(done)
        else:
            say(said(done))


def said(done: CompactResult) -> str:
    """Tell what a compaction did."""
    if done.before == done.after:
        return f"Nothing to compact, at LSN {done.after}"
    return (
        f"Compacted LSN {done.before} to {done.after}: {counted(done.pages, 'page')} in {size(done.bytes)}; "
        f"{counted(done.frames_before, 'frame')} in {counted(done.segments_before, 'segment')} "
        f"became {done.frames_after} in {done.segments_after}"
    )
