"""`graft serve`: documents for SQLSync's clients and for Python's, over HTTP and WebSockets."""

from pathlib import Path

import click

from graft_cli.options import command
from graft_cli.output import say

_EXTRA = "the server needs more packages: pip install 'graft[server]'"


@command(
    "serve",
    "graft serve s3://bucket/documents --directory ./server",
    "GRAFT_UPLOAD_TOKEN=… graft serve ./remote --origin https://app.example",
)
@click.argument("remote")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
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
    help="Who shows it may upload reducers; without one nobody may.",
)
@click.option(
    "--document-token",
    envvar="GRAFT_DOCUMENT_TOKEN",
    show_envvar=True,
    help="Who shows it may use documents; without one everybody may who knows a document's id.",
)
@click.option(
    "--origin", "origins", multiple=True, metavar="URL", help="Pages of this web origin may connect; '*' for all."
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
    origins: tuple[str, ...],
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
        from graft_server.serve import serve as serve_documents  # noqa: PLC0415
        from graft_server.settings import ServerSettings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{_EXTRA} ({error})") from error
    settings = ServerSettings.model_validate(
        {
            "remote": remote,
            "directory": directory,
            "upload_token": upload_token,
            "document_token": document_token,
            "origins": origins,
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
