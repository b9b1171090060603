"""`graft serve`: serves documents to SQLSync's and Python's clients over HTTP and WebSockets."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graft.errors import BadRequest, local_errors
from graft_cli.durations import Duration
from graft_cli.options import ReplicaPath, command
from graft_cli.output import say

if TYPE_CHECKING:
    from graft_server.settings import ServerSettings

_TOKENS = ("GRAFT_UPLOAD_TOKEN", "GRAFT_DOCUMENT_TOKEN")
_EXTRA = "the server needs packages of the extra 'server': in a checkout, pip install '.[server]'"


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
    help="Where the server stores mutations that it has accepted and not pushed yet. Created if missing.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 for any free one."
)
@click.option(
    "--upload-token",
    envvar="GRAFT_UPLOAD_TOKEN",
    show_envvar=True,
    help="Clients with this token may upload reducers and move documents to other reducers; without one, nobody may.",
)
@click.option(
    "--document-token",
    envvar="GRAFT_DOCUMENT_TOKEN",
    show_envvar=True,
    help="Clients with this token may use documents; without one, anybody who knows a document's id may.",
)
@click.option(
    "--document-tokens",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help='A JSON object with a token for each principal: {"ann": "…"}. A client with the token acts as the principal.',
)
@click.option(
    "--anonymous-timelines/--no-anonymous-timelines",
    default=True,
    show_default=True,
    help="Accept mutations of SQLSync's clients that have no principal's token.",
)
@click.option("--origin", "origins", multiple=True, metavar="URL", help="Allow web pages of this origin; '*' for all.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Accept this host name in requests; '*' for any. IP addresses and localhost are always accepted.",
)
@click.option(
    "--poll",
    "poll_s",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="How often to poll for commits of other writers.",
)
@click.option(
    "--maintain-every",
    type=Duration(),
    default=0.0,
    metavar="TIME",
    help="Compact and collect as graft maintain does, every so often (1d, 12h); by default never.",
)
@click.option(
    "--reducer",
    metavar="MODULE:NAME",
    help="Run this Python reducer for all documents instead of uploaded WebAssembly modules.",
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
    maintain_every: float,
    reducer: str | None,
) -> None:
    """Serve documents: each document is a volume in REMOTE, with a coordinator in this process.

    SQLSync's clients (npm @orbitinghail/sqlsync-worker 0.3.2) connect by WebSocket, Python's through
    sqlsync.http_link. Reducers are WebAssembly modules, uploaded with PUT /reducer, or one in Python. Ctrl-C or
    SIGTERM ends the server; everything that it has acknowledged is stored in its directory or in REMOTE.
    """
    try:
        from graft_server.modules import load_named  # noqa: PLC0415 - an extra
        from graft_server.runner import serve as serve_documents  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{_EXTRA} ({error})") from error
    for variable in _TOKENS:
        if variable in os.environ and not os.environ[variable].strip():
            raise BadRequest(f"{variable} is set but empty: unset it, or set a token")
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
            "maintain_every_s": maintain_every,
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
        raise BadRequest(f"{path} is not a JSON object of principals and their tokens: {error}") from error


def _checked(values: dict[str, Any]) -> "ServerSettings":
    from pydantic import ValidationError  # noqa: PLC0415 - a slow import

    from graft_server.settings import ServerSettings  # noqa: PLC0415 - an extra

    try:
        return ServerSettings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise BadRequest(f"invalid settings: {problems.strip(': ')}") from None
