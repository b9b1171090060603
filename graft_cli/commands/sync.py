"""`graft push`, `pull`, `fetch` and `hydrate`: move commits and pages between a replica and its remote."""

from dataclasses import replace
from pathlib import Path

import click

from graft.operations.hydrate import hydrate as graft_hydrate
from graft.operations.status import status
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.merging import set_merger
from graft.sync.pull import POLICIES, Policy, PullResult
from graft.sync.pull import fetch as graft_fetch
from graft.sync.pull import pull as graft_pull
from graft.sync.push import PushResult
from graft.sync.retried_push import push as graft_push
from graft.sync.staleness import wait_for
from graft_cli.human import counted, size
from graft_cli.interrupts import interruptible
from graft_cli.options import as_json, command, conflict_policy, directory
from graft_cli.output import document, say
from graft_cli.progress import progress, working
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.row_merger import merge_rows
from metastore.volumes import check_name


@command("push", 'graft push -m "new airports"', "graft push --retry 20")
@directory
@click.option("-m", "--message", help="What changed, for the log.")
@click.option(
    "--retry",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="TIMES",
    help="If another replica has pushed first: merge its rows, and try again.",
)
@conflict_policy
@as_json
def push(directory: Path, message: str | None, retry: int, conflicts: str, as_json: bool) -> None:
    """Send all local commits of DIR to its remote, as one commit.

    If another replica has pushed first, the local commits stay and the exit code is 3: pull with a policy, or fork. If
    the remote does not answer, the next push finds out whether this one landed; nothing is ever pushed twice.
    """
    if conflicts != "fail" and not retry:
        raise click.UsageError("--conflicts needs --retry")
    set_merger(merge_rows)
    with open_replica(directory) as replica:
        with (
            interruptible(lambda: what_a_push_left(replica)),
            progress(f"Pushing {replica.name}", of_bytes=True, quiet=as_json) as report,
        ):
            done = graft_push(
                replica, message=message, layout=btree_layout, progress=report, retry=retry, conflicts=conflicts
            )
        if as_json:
            document(done)
        else:
            say_pushed(done)


@command(
    "pull",
    "graft pull",
    "graft pull --policy merge",
    "graft pull --policy discard",
    "graft pull --policy fork --fork-name airports-mine",
    "graft pull --min-lsn 12 --wait 60",
)
@directory
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="abort",
    show_default=True,
    help="What to do if replica and remote have diverged: stop, discard the local commits, push them to a fork, or "
    "merge their rows into the remote's version.",
)
@conflict_policy
@click.option("--fork-name", metavar="NAME", help="With --policy fork: the name of the new volume.")
@click.option(
    "--min-lsn", type=click.IntRange(min=0), metavar="LSN", help="Wait until the remote has this commit, and pull it."
)
@click.option(
    "--wait",
    type=float,
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="With --min-lsn: wait at most this long.",
)
@as_json
def pull(
    directory: Path,
    policy: Policy,
    conflicts: str,
    fork_name: str | None,
    min_lsn: int | None,
    wait: float,
    as_json: bool,
) -> None:
    """Move DIR to the newest version of its remote, always in two round trips. No page is downloaded.

    Local commits stay if the remote has nothing new. If both have new commits, the exit code is 3 and nothing changes,
    unless --policy says otherwise. With --min-lsn, the LSN that a push elsewhere printed, the exit code is 8 if that
    commit does not arrive in time.
    """
    if (policy == "fork") != (fork_name is not None):
        raise click.UsageError("--policy fork and --fork-name go together")
    if conflicts != "fail" and policy != "merge":
        raise click.UsageError("--conflicts needs --policy merge")
    if fork_name is not None:
        try:
            check_name(fork_name)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="'--fork-name'") from error
    if min_lsn is not None and policy != "abort":
        raise click.UsageError("--min-lsn needs --policy abort; discard or fork the local commits first")
    with open_replica(directory) as replica:
        with (
            interruptible(lambda: "interrupted: the replica is at its old version or at the new one"),
            working("Pulling", quiet=as_json),
        ):
            before = replica.view().state.lsn
            if min_lsn is not None:
                wait_for(replica, min_lsn, timeout_s=wait)
            set_merger(merge_rows)
            pulled = graft_pull(replica, policy=policy, fork_name=fork_name, conflicts=conflicts)
            done = replace(pulled, before=before)
        if as_json:
            document(done)
        else:
            _say_pulled(replica, done)


@command("fetch", "graft fetch")
@directory
@as_json
def fetch(directory: Path, as_json: bool) -> None:
    """Learn the newest LSN of DIR's remote, in one request, and record it for graft status. Changes nothing else."""
    with open_replica(directory) as replica:
        done = graft_fetch(replica)
        if as_json:
            document(done)
        elif done.head == done.lsn:
            say(f"The remote has nothing new: LSN {done.head}")
        else:
            behind = counted(done.head - done.lsn, "new commit")
            say(f"The remote is at LSN {done.head}, {replica.name} at LSN {done.lsn}: {behind} to pull")


@command("hydrate", "graft hydrate ./airports")
@directory
@as_json
def hydrate(directory: Path, as_json: bool) -> None:
    """Fetch every missing page of the newest version, so that DIR can be read offline."""
    with open_replica(directory) as replica:
        with (
            interruptible(lambda: "interrupted: fetched pages stay cached, and the next hydrate fetches the rest"),
            progress(f"Fetching {replica.name}", of_bytes=True, quiet=as_json) as report,
        ):
            done = graft_hydrate(replica, progress=report)
        if as_json:
            document(done)
        elif done.frames:
            frames = counted(done.frames, "frame")
            say(f"Fetched {counted(done.pages, 'page')} ({size(done.bytes)}) in {frames}; every page is cached")
        else:
            say("Every page is already cached")


def say_pushed(done: PushResult) -> None:
    """Print what a push did."""
    if done.before == done.after:
        say(f"Nothing to push, at LSN {done.after}")
    else:
        how = "inside the commit" if done.inline else "as a segment"
        say(f"Pushed LSN {done.after}: {counted(done.pages, 'page')}, {size(done.bytes)} {how}")


def what_a_push_left(replica: Replica) -> str:
    """Return a sentence about the state that an interrupted push left."""
    now = status(replica)
    commits = counted(now.local_commits, "local commit")
    if now.push_open:
        return (
            f"interrupted: the push of {commits} was under way and may or may not have landed; nothing is lost, "
            "and the next push finds out"
        )
    if now.local_commits:
        return f"interrupted: nothing was pushed; {commits} left for the next push"
    return f"interrupted: the push had landed already, as LSN {now.lsn}"


def _say_pulled(replica: Replica, done: PullResult) -> None:
    snapshot = replica.snapshot()
    if done.before == done.after:
        say(f"The remote has nothing new: LSN {done.after}")
    else:
        new = f"LSN {done.after}" if done.after == done.before + 1 else f"LSN {done.before + 1} to {done.after}"
        say(f"Pulled {new}: {replica.name} has {size(snapshot.byte_size)}")
    commits = counted(done.discarded_commits, "local commit")
    if done.forked_to:
        say(f"Moved {commits} to the new volume {done.forked_to}: graft clone '{replica.store_url}#{done.forked_to}'")
    elif done.discarded_commits:
        say(f"Discarded {commits}")
    if done.merged is not None:
        say(f"Local changes {done.merged.summary()}")
    elif snapshot.local_commits and not done.discarded_commits:
        say(f"{counted(snapshot.local_commits, 'local commit')} to push")
