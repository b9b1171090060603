"""Access control: tokens for uploads and for documents, allowed web origins, the server's host names."""

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr
from starlette.requests import HTTPConnection

from graft_server.error_replies import NotPermitted, WrongHost
from graft_server.settings import ServerSettings

_BEARER: Final = "bearer "


@dataclass(frozen=True, slots=True)
class Visitor:
    """The sender of a request, by its token."""

    principal: str
    """The name that the settings give to the token, empty if they give none."""
    may_upload: bool
    """Whether the sender may upload reducers and move documents to other reducers."""


def visitor(connection: HTTPConnection, settings: ServerSettings) -> Visitor:
    """Return the sender of a document's request; raises `NotPermitted` if its token does not permit the use.

    The token comes as ``Authorization: Bearer …``, or as ``?token=…`` from browsers' WebSockets, which cannot set
    headers.
    """
    shown = _shown(connection)
    may_upload = _is(shown, settings.upload_token)
    principals = [name for name, token in settings.document_tokens.items() if _is(shown, token)]
    if principals:
        return Visitor(principals[0], may_upload)
    is_open = settings.document_token is None and not settings.document_tokens
    if not (is_open or may_upload or _is(shown, settings.document_token)):
        raise NotPermitted("a document needs a token: Authorization: Bearer …")
    return Visitor("", may_upload)


def require_author(settings: ServerSettings, principal: str, *, has_secret: bool) -> None:
    """Raise `NotPermitted` for an author without proof of identity, unless the settings allow that."""
    if not (principal or has_secret or settings.anonymous_timelines):
        raise NotPermitted(
            "this server accepts no mutations from authors without their timeline's secret or a principal's token"
        )


def require_upload(connection: HTTPConnection, settings: ServerSettings) -> None:
    """Raise `NotPermitted` unless the connection shows the token for uploads."""
    if settings.upload_token is None:
        raise NotPermitted("this server accepts no reducers: it was started without an upload token")
    if not _is(_shown(connection), settings.upload_token):
        raise NotPermitted("uploading a reducer needs a token: Authorization: Bearer …")


def _shown(connection: HTTPConnection) -> str:
    header = connection.headers.get("authorization", "")
    return header[len(_BEARER) :] if header.lower().startswith(_BEARER) else connection.query_params.get("token", "")


def _is(shown: str, token: SecretStr | None) -> bool:
    return token is not None and hmac.compare_digest(
        shown.encode(errors="surrogatepass"), token.get_secret_value().encode(errors="surrogatepass")
    )


def require_origin(connection: HTTPConnection, origins: Sequence[str]) -> None:
    """Raise `NotPermitted` for a web page whose origin may not connect.

    Browsers let any page open a WebSocket to any server, and send its origin. Other clients send no origin.
    """
    origin = connection.headers.get("origin")
    if origin is None or "*" in origins or origin in origins:
        return
    if origin.partition("://")[2] == connection.headers.get("host"):
        return
    raise NotPermitted(f"pages of {origin} may not connect to this server")


def require_host(connection: HTTPConnection, hosts: Sequence[str]) -> None:
    """Raise `WrongHost` unless the request names a host of this server: an address, localhost, or one of ``hosts``.

    This stops DNS rebinding: an attacker lets a domain's name point to this server after a browser has loaded a page
    from there. For the browser the page then has the server's own origin, and only the host name differs. An address
    cannot be redirected like that.
    """
    name = _host_name(connection.headers.get("host", ""))
    if "*" in hosts or name in {host.lower() for host in hosts} or _is_local(name) or _is_address(name):
        return
    raise WrongHost(f"this server does not answer for host {name[:100]!r}; allow it with --allow-host if it should")


def _host_name(header: str) -> str:
    """Return the host without its port, in lower case."""
    if header.startswith("["):
        return header.partition("]")[0].removeprefix("[").lower()
    return header.partition(":")[0].rstrip(".").lower()


def _is_local(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
