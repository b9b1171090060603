"""Finding out why an endpoint gives no answer: does it speak TLS where HTTP was named, or the other way round?

Asked once, when the first request to an endpoint fails: a few bytes over connections of their own, no S3 request.
"""

import socket
import ssl
from urllib.parse import urlsplit

_PATIENCE_S = 2.0
_HTTP = b"HTTP/"


def wrong_scheme(endpoint: str) -> str | None:
    """Return the end of a sentence that begins with the bucket, if the endpoint speaks the other protocol; else None.

    Takes up to twice `_PATIENCE_S`, and next to nothing where nobody listens. Raises nothing.
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
    """Whether a server goes along with a TLS handshake, whatever certificate it has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent; whoever answers may be anybody
    try:
        with (
            socket.create_connection(address, timeout=_PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname=address[0]),
        ):
            return True
    except ssl.SSLError as error:  # an alert is TLS, too: it wants a certificate of ours, or another version
        return "ALERT" in (error.reason or "")
    except (OSError, ValueError):
        return False


def _speaks_http(address: tuple[str, int]) -> bool:
    """Whether a server answers a request in HTTP."""
    request = f"HEAD / HTTP/1.1\r\nHost: {address[0]}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(address, timeout=_PATIENCE_S) as connection:
            connection.sendall(request.encode("ascii", "replace"))
            return connection.recv(len(_HTTP), socket.MSG_WAITALL) == _HTTP
    except OSError:
        return False
