"""`graft compact`: rewrites a volume's content in a new layout."""

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
@click.option("--scattered", is_flag=True, help="Rewrite only pages whose frames hold little other live data.")
@click.option("-m", "--message", help="The message of the commit.")
@as_json
def compact(directory: Path, scattered: bool, message: str | None, as_json: bool) -> None:
    """Rewrite the newest version of DIR's volume so that a cold reader needs few requests.

    The content and all older versions stay the same: nothing is deleted, and the bucket grows by the size of what is
    rewritten. The result is an ordinary commit; if another replica pushes first, the exit code is 3 and nothing has
    changed. Push local commits first. graft audit shows when a compaction is worth it.
    """
    with open_replica(directory) as replica:
        with (
            interruptible(lambda: "interrupted: the volume is unchanged or compacted; its content is the same"),
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
    """Return a sentence about a finished compaction."""
    if done.before == done.after:
        return f"Nothing to compact, at LSN {done.after}"
    return (
        f"Compacted LSN {done.before} to {done.after}: {counted(done.pages, 'page')} in {size(done.bytes)}; "
        f"{counted(done.frames_before, 'frame')} in {counted(done.segments_before, 'segment')} "
        f"became {done.frames_after} in {done.segments_after}"
    )
