"""Listing a bucket with a request of our own, since obstore cannot ask for fewer than 1000 keys.

The newest commit of a log is found by a listing of one key; a page of 1000 would weigh 300 KB.
"""

import http.client
import select
import socket
import ssl
from collections import deque
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree as ET

from pagestore.runtime import Runtime
from pagestore.s3_access import Access
from pagestore.s3_api import ListedObject, ListPage
from pagestore.s3_errors import ErrorReply, NoAnswer, UntrustedCertificate
from pagestore.s3_settings import S3Settings
from pagestore.s3_sigv4 import canonical_query, signed_headers


class SignedLister:
    """ListObjectsV2 of one bucket. Several threads may use it; each request has a connection to itself."""

    def __init__(self, access: Access, settings: S3Settings, runtime: Runtime) -> None:
        """Prepare; nothing is sent yet."""
        self._access = access
        self._settings = settings
        self._runtime = runtime
        url = urlsplit(access.bucket_url)
        self._host = url.netloc
        self._path = quote(url.path, safe="/-_.~") or "/"
        self._tls = _tls_context() if url.scheme == "https" else None
        self._idle: deque[http.client.HTTPConnection] = deque()  # its methods used here are atomic

    def list_page(self, prefix: str, *, start_after: str, token: str, wanted: int) -> ListPage:
        """Return one page; raises `ErrorReply`, `NoAnswer` or `UntrustedCertificate`."""
        options = {"list-type": "2", "encoding-type": "url", "prefix": prefix, "max-keys": str(wanted)}
        if token:
            options["continuation-token"] = token
        elif start_after:
            options["start-after"] = start_after
        status, body = self._get(canonical_query(options))
        if status != 200:
            raise error_reply(status, body)
        return read_page(body)

    def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _get(self, query: str) -> tuple[int, bytes]:
        headers = signed_headers(
            self._host,
            self._path,
            query,
            credentials=self._access.credentials(),
            region=self._access.region,
            now_s=self._runtime.now_s(),
        )
        headers["user-agent"] = "graft"
        connection = self._connection()
        try:
            connection.request("GET", f"{self._path}?{query}", headers=headers)
            reply = connection.getresponse()
            body = reply.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException):
                raise NoAnswer(str(error) or type(error).__name__) from error
            raise
        if connection.sock is not None:  # else the server wants it closed
            self._idle.append(connection)
        return reply.status, body

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


def read_page(body: bytes) -> ListPage:
    """Parse a ListBucketResult; raises `NoAnswer` for what is no XML, `ErrorReply` for other XML."""
    root = _parsed(body)
    if root is None:
        raise NoAnswer("a listing came that is no XML")
    if _local_name(root) != "ListBucketResult":
        raise error_reply(200, body)
    url_quoted = root.findtext("{*}EncodingType") == "url"
    objects = tuple(_listed(found, url_quoted=url_quoted) for found in root.findall("{*}Contents"))
    truncated = root.findtext("{*}IsTruncated") == "true"
    return ListPage(objects, (root.findtext("{*}NextContinuationToken") or "") if truncated else "")


def error_reply(status: int, body: bytes) -> ErrorReply:
    """Return the error that an S3 server told, or one with the status only."""
    root = _parsed(body)
    if root is None or _local_name(root) != "Error":
        return ErrorReply(status, str(status), "")
    return ErrorReply(status, root.findtext("{*}Code") or str(status), root.findtext("{*}Message") or "")


def _listed(found: ET.Element, *, url_quoted: bool) -> ListedObject:
    try:
        key = found.findtext("{*}Key") or ""
        modified = datetime.fromisoformat(found.findtext("{*}LastModified") or "")
        return ListedObject(
            unquote(key) if url_quoted else key, int(found.findtext("{*}Size") or ""), modified.timestamp()
        )
    except ValueError as error:
        raise NoAnswer(f"a listing came that makes no sense: {error}") from error


def _parsed(body: bytes) -> ET.Element | None:
    with suppress(ET.ParseError):
        return ET.fromstring(body)  # noqa: S314 - expat bounds entity expansion; the server is the user's own
    return None


def _local_name(root: ET.Element) -> str:
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
