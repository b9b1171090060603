"""Checks whether an endpoint that does not answer speaks TLS instead of HTTP, or the other way round.

Runs once, when the first request to an endpoint fails; sends a few bytes over separate connections, no S3 request.
"""

import socket
import ssl
from urllib.parse import urlsplit

_PATIENCE_S = 2.0
_HTTP = b"HTTP/"


def wrong_scheme(endpoint: str) -> str | None:
    """Return the end of a sentence about the bucket if the endpoint speaks the other protocol, otherwise None.

    Takes up to twice `_PATIENCE_S`, and almost no time if nothing listens on the port. Raises nothing.
    """
    url = urlsplit(endpoint)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
    except ValueError:
        return None
    address = (url.hostname or "", port)
    if url.scheme == "https":
        if not _speaks_tls(address) and _speaks_http(address):
            return f"speaks plain HTTP on port {port}, not TLS; write http:// instead of https:// in the endpoint"
        return None
    if _speaks_tls(address):
        return f"speaks TLS on port {port}, not plain HTTP; write https:// instead of http:// in the endpoint"
    return None


def _speaks_tls(address: tuple[str, int]) -> bool:
    """Return whether the server accepts a TLS handshake, whatever its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # no data is sent, so the server's identity does not matter
    try:
        with (
            socket.create_connection(address, timeout=_PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname=address[0]),
        ):
            return True
    except ssl.SSLError as error:  # an alert is TLS too: the server wants a client certificate or another version
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return False


def _speaks_http(address: tuple[str, int]) -> bool:
    """Return whether the server answers a plain HTTP request."""
    request = f"HEAD / HTTP/1.1\r\nHost: {address[0]}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(address, timeout=_PATIENCE_S) as connection:
            connection.sendall(request.encode("ascii", "replace"))
            return connection.recv(len(_HTTP), socket.MSG_WAITALL) == _HTTP
    except OSError:
        return False
