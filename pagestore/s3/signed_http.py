"""Requests of our own to a bucket, signed, over `http.client`: what obstore cannot ask for."""

import hashlib
import http.client
import select
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from pagestore.runtime import Runtime
from pagestore.s3.access import Access
from pagestore.s3.errors import ErrorReply, NoAnswer, UntrustedCertificate
from pagestore.s3.settings import S3Settings
from pagestore.s3.sigv4 import canonical_query, signed_headers


@dataclass(frozen=True, slots=True)
class SignedReply:
    """What came back, of whatever status."""

    status: int
    body: bytes
    etag: str


class SignedRequests:
    """Requests to one bucket. Several threads may use it; each request has a connection to itself."""

    def __init__(self, access: Access, settings: S3Settings, runtime: Runtime) -> None:
        """Prepare; nothing is sent yet."""
        self._access = access
        self._settings = settings
        self._runtime = runtime
        url = urlsplit(access.bucket_url)
        self._host = url.netloc
        self._path = quote(url.path, safe="/-_.~").rstrip("/")
        self._tls = _tls_context() if url.scheme == "https" else None
        self._idle: deque[http.client.HTTPConnection] = deque()  # its methods used here are atomic

    def send(self, method: str, full_key: str, options: Mapping[str, str], body: bytes = b"") -> SignedReply:
        """Ask for an object, or for the bucket where the key is empty; the signature covers the body.

        Raises `NoAnswer`, `UntrustedCertificate` and `OSError`.
        """
        query = canonical_query(options)
        path = f"{self._path}/{quote(full_key, safe='/-_.~')}" if full_key else self._path or "/"
        headers = signed_headers(
            self._host,
            path,
            query,
            method=method,
            body_sha256=hashlib.sha256(body).hexdigest(),
            credentials=self._access.credentials(),
            region=self._access.region,
            now_s=self._runtime.now_s(),
        )
        headers["user-agent"] = "graft"
        connection = self._connection()
        try:
            with suppress(BrokenPipeError):  # who refuses a body need not hear all of it, and has answered already
                connection.request(method, f"{path}?{query}", body or None, headers)
            reply = connection.getresponse()
            answer = SignedReply(reply.status, reply.read(), reply.headers.get("ETag", ""))
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException):
                raise NoAnswer(str(error) or type(error).__name__) from error
            raise
        if connection.sock is not None:  # else the server wants it closed
            self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _connection(self) -> http.client.HTTPConnection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect()
            if not _is_dropped(connection.sock):
                return connection
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        timeout_s = self._settings.connect_timeout_s
        connection = (
            http.client.HTTPConnection(self._host, timeout=timeout_s)
            if self._tls is None
            else http.client.HTTPSConnection(self._host, timeout=timeout_s, context=self._tls)
        )
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            raise UntrustedCertificate(str(error)) from error
        connection.sock.settimeout(self._settings.read_timeout_s)
        return connection


def error_reply(status: int, body: bytes) -> ErrorReply:
    """Return the error that an S3 server told, or one with the status only."""
    root = parsed(body)
    if root is None or local_name(root) != "Error":
        return ErrorReply(status, str(status), "")
    return ErrorReply(status, root.findtext("{*}Code") or str(status), root.findtext("{*}Message") or "")


def parsed(body: bytes) -> ET.Element | None:
    """Return the root of a reply's body; None for what is no XML."""
    with suppress(ET.ParseError):
        return ET.fromstring(body)  # noqa: S314 - expat bounds entity expansion; the server is the user's own
    return None


def local_name(root: ET.Element) -> str:
    """Return the name of an element without its namespace."""
    return root.tag.rpartition("}")[2]


def _is_dropped(sock: socket.socket | None) -> bool:
    """Whether the server hung up, or said something that nobody asked for, while the connection was idle."""
    if sock is None:
        return True
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def _tls_context() -> ssl.SSLContext:
    """Trust what the system trusts, or what botocore brings where the system has nothing."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        botocore = find_spec("botocore")
        if botocore is not None and botocore.origin is not None:
            context.load_verify_locations(Path(botocore.origin).with_name("cacert.pem"))
    return context
