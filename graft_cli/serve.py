"""`graft serve`: documents for SQLSync's clients and for Python's, over HTTP and WebSockets."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graft.errors import BadRequest, local_errors
from graft_cli.options import ReplicaPath, command
from graft_cli.output import say

if TYPE_CHECKING:
    from graft_server.settings import ServerSettings

_TOKENS = ("GRAFT_UPLOAD_TOKEN", "GRAFT_DOCUMENT_TOKEN")
_EXTRA = "the server needs more packages, the extra 'server': in a checkout, pip install '.[server]'"


@command(
    "serve",
    "graft serve s3://bucket/documents --directory ./server",
    "GRAFT_UPLOAD_TOKEN=… graft serve ./remote --origin https://app.example",
)
@click.argument("remote")
@click.option(
    "--directory",
    type=ReplicaPath(),
    default=Path("graft-server"),
    show_default=True,
    help="Where the server keeps what it has taken and not pushed yet. Made if it is not there.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0 for any free one.")
@click.option(
    "--upload-token",
    envvar="GRAFT_UPLOAD_TOKEN",
    show_envvar=True,
    help="Who shows it may upload reducers, and move documents to others; without one nobody may.",
)
@click.option(
    "--document-token",
    envvar="GRAFT_DOCUMENT_TOKEN",
    show_envvar=True,
    help="Who shows it may use documents; without one everybody may who knows a document's id.",
)
@click.option(
    "--document-tokens",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help='A token for each principal, as a JSON object: {"ann": "…"}. What is done with one is done by its principal.',
)
@click.option(
    "--anonymous-timelines/--no-anonymous-timelines",
    default=True,
    show_default=True,
    help="Take mutations of SQLSync's clients that show no token of their own principal.",
)
@click.option(
    "--origin", "origins", multiple=True, metavar="URL", help="Pages of this web origin may connect; '*' for all."
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Clients may call the server by this name; '*' for any. Addresses and localhost always count.",
)
@click.option(
    "--poll",
    "poll_s",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How often to look for what others pushed.",
)
@click.option(
    "--reducer",
    metavar="MODULE:NAME",
    help="Run this Python reducer for all documents, instead of uploaded WebAssembly modules.",
)
def serve(
    remote: str,
    directory: Path,
    host: str,
    port: int,
    upload_token: str | None,
    document_token: str | None,
    document_tokens: Path | None,
    anonymous_timelines: bool,
    origins: tuple[str, ...],
    hosts: tuple[str, ...],
    poll_s: float,
    reducer: str | None,
) -> None:
    """Serve documents: each one is a volume in REMOTE, with a coordinator that runs here.

    SQLSync's clients (npm @orbitinghail/sqlsync-worker 0.3.2) connect by WebSocket, Python's through
    sqlsync.http_link. Reducers are WebAssembly modules, uploaded with PUT /reducer, or one in Python. Ctrl-C or
    SIGTERM ends the server; whatever it acknowledged is safe in its directory or in REMOTE.
    """
    try:
        from graft_server.modules import load_named  # noqa: PLC0415 - an extra
        from graft_server.runner import serve as serve_documents  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{_EXTRA} ({error})") from error
    for variable in _TOKENS:
        if variable in os.environ and not os.environ[variable].strip():
            raise BadRequest(f"{variable} is set and empty: unset it, or give a token")
    settings = _checked(
        {
            "remote": remote,
            "directory": directory,
            "upload_token": upload_token,
            "document_token": document_token,
            "document_tokens": {} if document_tokens is None else _read(document_tokens),
            "anonymous_timelines": anonymous_timelines,
            "origins": origins,
            "hosts": (*hosts, host),
            "poll_s": poll_s,
        }
    )
    serve_documents(
        settings,
        host=host,
        port=port,
        reducer=None if reducer is None else load_named(reducer),
        on_ready=lambda url: say(f"Serving {remote} at {url}"),
    )


def _read(path: Path) -> Any:
    with local_errors(f"reading {path}"):
        text = path.read_text()
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest(f"{path} is no JSON object of principals and their tokens: {error}") from error


def _checked(values: dict[str, Any]) -> "ServerSettings":
    from pydantic import ValidationError  # noqa: PLC0415 - takes a while

    from graft_server.settings import ServerSettings  # noqa: PLC0415 - an extra

    try:
        return ServerSettings.model_validate(values)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise BadRequest(f"these settings cannot be used: {told.strip(': ')}") from None
