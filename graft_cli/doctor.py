"""`graft doctor` and `graft version`: what this installation is, and whether a remote can be trusted."""

import platform
import time
from importlib.metadata import version as installed_version

import apsw
import click

from graft.remote.remote import opened_remote, parse_remote, require_safe
from graft_cli.options import as_json, command
from graft_cli.output import document, fields, say
from graft_sqlite_vfs.registration import READ_PATH


@command(
    "doctor",
    "graft doctor",
    "graft doctor s3://bucket/data?endpoint=http://127.0.0.1:9000",
)
@click.argument("remote", required=False)
@as_json
def doctor(remote: str | None, as_json: bool) -> None:
    """Show the versions of what graft runs on, and check that REMOTE, if given, keeps the promises that it needs.

    A server must honour conditional writes and ranges; some do not, and would lose commits. The check writes one small
    object below probe/, and deletes it. The exit code is 5 if the server fails, 4 if it does not answer.
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
    if remote is not None:
        url, took_s = _checked(remote)
        if not as_json:
            say(f"The remote {url} honours conditional writes and ranges (6 requests, {took_s * 1000:.0f} ms)")
    if as_json:
        document(facts, remote=None if remote is None else {"url": url, "safe": True, "seconds": round(took_s, 4)})


def _checked(remote: str) -> tuple[str, float]:
    address = parse_remote(remote)
    with opened_remote(address.store_url) as opened:
        started_s = time.monotonic()
        require_safe(opened)
        return opened.store.url, time.monotonic() - started_s


@command("version", "graft version")
def version() -> None:
    """Print the version of graft."""
    say(f"graft {installed_version('graft')}")
