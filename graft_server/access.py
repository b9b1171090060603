"""Who may do what: a bearer token for uploads, another one for documents, and the web origins that may connect."""

import hmac
from collections.abc import Sequence
from typing import Final

from pydantic import SecretStr
from starlette.requests import HTTPConnection

from graft_server.error_replies import NotPermitted

_BEARER: Final = "bearer "


def require(connection: HTTPConnection, token: SecretStr | None, what: str) -> None:
    """Raise `NotPermitted` unless the connection shows the token: ``Authorization: Bearer …``, or ``?token=…``.

    The query is for WebSockets of browsers, which cannot send headers.
    """
    if token is None:
        return
    header = connection.headers.get("authorization", "")
    shown = header[len(_BEARER) :] if header.lower().startswith(_BEARER) else connection.query_params.get("token", "")
    if not hmac.compare_digest(shown.encode(), token.get_secret_value().encode()):
        raise NotPermitted(f"{what} needs a token: Authorization: Bearer …")


def require_origin(connection: HTTPConnection, origins: Sequence[str]) -> None:
    """Raise `NotPermitted` for a page of a web origin that may not connect.

    Browsers let any page open a WebSocket anywhere; everything that is no browser sends no origin.
    """
    origin = connection.headers.get("origin")
    if origin is None or "*" in origins or origin in origins:
        return
    if origin.partition("://")[2] == connection.headers.get("host"):
        return
    raise NotPermitted(f"pages of {origin} may not connect to this server")
