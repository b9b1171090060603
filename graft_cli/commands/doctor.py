"""`graft doctor` and `graft version`: describe this installation, and check a replica or a remote."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import apsw
import click

from graft.operations.status import status
from graft.remote.address import parse_remote
from graft.remote.remote import opened_remote, require_safe
from graft.replica.directory import is_replica
from graft.replica.opening import open_replica
from graft.sync.pull import fetch
from graft_cli.human import counted, size
from graft_cli.options import as_json, command
from graft_cli.output import document, fields, say
from graft_sqlite_vfs.registration import READ_PATH
from pagestore.urls import local_directory


@command(
    "doctor",
    "graft doctor",
    "graft doctor ./airports",
    "graft doctor s3://bucket/data?endpoint=http://127.0.0.1:9000",
)
@click.argument("where", metavar="[DIR|REMOTE]", required=False)
@as_json
def doctor(where: str | None, as_json: bool) -> None:
    """Show the versions of graft, Python and SQLite, and check a replica DIR or a REMOTE, if given.

    For a replica, the check opens it, which verifies its journal, and reads the newest commit from its remote. It
    writes nothing to the remote.

    A REMOTE must honour conditional writes and byte ranges, and list its objects; some servers do not, and would lose
    commits. The check writes two small objects below probe/ and deletes them. The exit code is 5 if the server fails
    the check, 4 if it does not answer.
    """
    facts = {
        "graft": installed_version("graft"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "sqlite": apsw.sqlite_lib_version(),
        "apsw": apsw.apsw_version(),
        "read_path": str(READ_PATH),
    }
    if not as_json:
        fields([(name.replace("_", " "), value) for name, value in facts.items()])
    remote = replica = None
    if where is not None and is_replica(where):
        replica = _checked_replica(Path(where), quiet=as_json)
    elif where is not None:
        remote = _checked_remote(where, quiet=as_json)
    if as_json:
        document(facts, remote=remote, replica=replica)


def _checked_replica(directory: Path, *, quiet: bool) -> dict[str, Any]:
    with open_replica(directory) as replica:
        found = status(replica)
        if not quiet:
            local = f"{counted(found.local_commits, 'local commit')}, {size(found.journal_bytes)} of journal"
            say(f"{directory} is a replica of {found.remote} at LSN {found.lsn}: it opens; {local}")
        started_s = time.monotonic()
        head = fetch(replica).head
        took_s = time.monotonic() - started_s
        found = status(replica)
    if not quiet:
        say(f"The remote answers ({took_s * 1000:.0f} ms): it is at LSN {head}, the replica is {found.state}")
        say(f"To check the server too: graft doctor {replica.store_url}")
    return {
        "path": str(replica.path), "remote": found.remote, "state": found.state, "lsn": found.lsn, "remote_head": head,
        "local_commits": found.local_commits, "push_open": found.push_open, "seconds": round(took_s, 4),
    }  # fmt: skip


def _checked_remote(remote: str, *, quiet: bool) -> dict[str, Any]:
    store_url = parse_remote(remote).store_url
    directory = local_directory(store_url)
    if directory is not None and not directory.exists() and not quiet:
        say(f"There is no directory {directory} yet; the check creates and deletes it")
    with _leaving_no_directory(directory), opened_remote(store_url) as opened:
        started_s = time.monotonic()
        require_safe(opened)
        url, took_s = opened.store.url, time.monotonic() - started_s
    if not quiet:
        say(f"The remote {url} honours conditional writes and ranges ({took_s * 1000:.0f} ms)")
    return {"url": url, "safe": True, "seconds": round(took_s, 4)}


@contextmanager
def _leaving_no_directory(root: Path | None) -> Iterator[None]:
    """Delete the empty directories that a check creates: it deletes its objects, but not their folders."""
    made: list[Path] = []
    if root is not None:
        folders = [found for found in root.iterdir() if found.is_dir()] if root.is_dir() else []
        made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        yield
    finally:
        if root is not None and root.is_dir():
            for path in [*(new for new in root.iterdir() if new.is_dir() and new not in folders), *made]:
                with suppress(OSError):
                    path.rmdir()


@command("version", "graft version")
def version() -> None:
    """Print the version of graft."""
    say(f"graft {installed_version('graft')}")
