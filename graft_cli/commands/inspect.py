"""`graft status`, `audit` and `verify`: commands that change nothing."""

from pathlib import Path

import click

from graft.operations.status import Audit, Status
from graft.operations.status import audit as graft_audit
from graft.operations.status import status as graft_status
from graft.operations.verify import verify as graft_verify
from graft.replica.opening import open_replica
from graft_cli.exitcodes import ExitCode
from graft_cli.human import counted, size
from graft_cli.interrupts import interruptible
from graft_cli.options import as_json, command, directory
from graft_cli.output import document, fields, say
from graft_cli.progress import progress

_COLOURS = {"up to date": "green", "ahead": "yellow", "behind": "yellow", "diverged": "red"}


@command("status", "graft status ./airports")
@directory
@as_json
def status(directory: Path, as_json: bool) -> None:
    """Show which volume DIR is a replica of, and how it compares with the remote as last seen.

    Sends no request: run graft fetch first to learn about new commits.
    """
    with open_replica(directory) as replica:
        found = graft_status(replica)
    if as_json:
        document(found)
    else:
        fields([*_described(found), *([("access", replica.read_only)] if replica.read_only else [])])


def _described(found: Status) -> list[tuple[str, str]]:
    described = [
        ("volume", found.name),
        ("remote", found.remote),
        ("state", f"{click.style(found.state, fg=_COLOURS[found.state])}{_what_next(found)}"),
        ("version", f"LSN {found.lsn}; the remote was at LSN {found.remote_head} when last seen"),
        ("fresh", _freshness(found)),
        ("size", f"{size(found.byte_size)}: {counted(found.page_count, 'page')} of {size(found.page_size)}"),
        ("segments", str(found.segments)),
        ("journal", size(found.journal_bytes)),
        ("cache", size(found.cache_bytes)),
    ]
    if found.push_open:
        described.append(("push", "in doubt: it may or may not have landed; the next push finds out"))
    return described


def _freshness(found: Status) -> str:
    if found.staleness_s is None:
        return "not known: run graft pull or graft fetch"
    return f"has all that the remote had {found.staleness_s:.1f} s ago"


def _what_next(found: Status) -> str:
    local = f"{counted(found.local_commits, 'local commit')} ({counted(found.local_pages, 'page')})"
    new = counted(found.remote_head - found.lsn, "new remote commit")
    match found.state:
        case "ahead":
            return f": {local} to push"
        case "behind":
            return f": {new} to pull"
        case "diverged":
            return f": {local} and {new}; pull with a policy"
    return ""


@command("audit", "graft audit ./airports")
@directory
@as_json
def audit(directory: Path, as_json: bool) -> None:
    """Count where the pages of DIR's newest version are: in the journal, in the cache, or only in the remote."""
    with open_replica(directory) as replica:
        found, page_size = graft_audit(replica), replica.page_size
    if as_json:
        document(found)
    else:
        fields(_counts(found, page_size))


def _counts(found: Audit, page_size: int) -> list[tuple[str, str]]:
    def pages(count: int) -> str:
        return f"{counted(count, 'page')} ({size(count * page_size)})"

    return [
        ("all", pages(found.page_count)),
        ("with a body", pages(found.live_pages)),
        ("not pushed", pages(found.local_pages)),
        ("in the cache", pages(found.cached_pages)),
        ("to be fetched", pages(found.missing_pages)),
        ("frames", f"{found.frames}; a compaction would need about {found.frames_needed}"),
    ]


@command("verify", "graft verify ./airports")
@directory
@click.pass_context
@as_json
def verify(ctx: click.Context, directory: Path, as_json: bool) -> None:
    """Read the whole newest remote version of DIR's volume, and check every checksum.

    Downloads as much as a hydrate of an empty cache. Problems are listed, and the exit code is then 6.
    """
    with (
        open_replica(directory) as replica,
        interruptible(lambda: "interrupted: not everything was read; no problem was found in what was"),
        progress(f"Verifying {replica.name}", quiet=as_json) as report,
    ):
        found = graft_verify(replica, progress=report)
    if as_json:
        document(found)
    else:
        read = f"{counted(found.pages, 'page')} in {counted(found.frames, 'frame')}, {size(found.bytes)}"
        for problem in found.problems:
            say(problem)
        verdict = counted(len(found.problems), "problem") if found.problems else "all is well"
        say(f"LSN {found.lsn}: {read}: {verdict}")
    if found.problems:
        ctx.exit(ExitCode.CORRUPT)
