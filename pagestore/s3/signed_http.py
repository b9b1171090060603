"""Signed requests to a bucket over `http.client`, for what obstore does not offer."""

import hashlib
import http.client
import select
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from pagestore.runtime import Runtime
from pagestore.s3.access import Access
from pagestore.s3.errors import ErrorReply, NoAnswer, UntrustedCertificate, error_reply
from pagestore.s3.server_words import local_name, parsed
from pagestore.s3.settings import S3Settings
from pagestore.s3.sigv4 import canonical_query, content_md5, signed_headers


@dataclass(frozen=True, slots=True)
class SignedReply:
    """A reply of any status."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name in lower case."""

    @property
    def etag(self) -> str:
        """The ETag header, empty if there is none."""
        return self.headers.get("etag", "")

    def error(self) -> ErrorReply:
        """Return this reply as an error."""
        return error_reply(
            self.status,
            self.body,
            region=self.headers.get("x-amz-bucket-region", ""),
            location=self.headers.get("location", ""),
        )

    def result(self, name: str) -> ET.Element:
        """Return the root element ``name`` of a successful reply; raises `ErrorReply` or `NoAnswer` for others."""
        root = parsed(self.body)
        if self.status != 200 or (root is not None and local_name(root) == "Error"):
            raise self.error()
        if root is None or local_name(root) != name:
            raise NoAnswer(f"the server sent a reply that is not {name}")
        return root


class SignedRequests:
    """Sends requests to one bucket. Safe for several threads; each request has its own connection."""

    def __init__(self, access: Access, settings: S3Settings, runtime: Runtime) -> None:
        """Prepare; nothing is sent yet."""
        self._access = access
        self._settings = settings
        self._runtime = runtime
        url = urlsplit(access.bucket_url)
        self._host = url.netloc
        self._path = quote(url.path, safe="/-_.~").rstrip("/")
        self._tls = _tls_context() if url.scheme == "https" else None
        self._idle: deque[http.client.HTTPConnection] = deque()  # append and pop are atomic
        self._silence_s = settings.first_silence_s

    def send(
        self,
        method: str,
        full_key: str,
        options: Mapping[str, str],
        body: bytes = b"",
        more_headers: Mapping[str, str] | None = None,
    ) -> SignedReply:
        """Send a request for an object, or for the bucket if the key is empty; the signature covers the body.

        A body is sent with its MD5, which buckets with Object Lock require. Redirects are not followed. Raises
        `NoAnswer`, `UntrustedCertificate` and `OSError`.
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
        headers |= {"user-agent": "graft", **(more_headers or {})}
        if body:
            headers["content-md5"] = content_md5(body)
        connection = self._connection()
        try:
            with suppress(BrokenPipeError):  # a server that refuses a body may answer before it has received all of it
                connection.request(method, f"{path}?{query}" if query else path, body or None, headers)
            reply = connection.getresponse()
            named = {name.lower(): value for name, value in reply.getheaders()}
            answer = SignedReply(reply.status, reply.read(), named)
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException):
                raise NoAnswer(str(error) or type(error).__name__) from error
            raise
        if connection.sock is not None:  # otherwise the server asked to close it
            self._idle.append(connection)
        return answer

    def wait_longer(self) -> None:
        """From now on, wait the whole ``read_timeout_s`` for a silent server."""
        self._silence_s = self._settings.read_timeout_s

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
                connection.sock.settimeout(self._silence_s)
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
        connection.sock.settimeout(self._silence_s)
        return connection


def _is_dropped(sock: socket.socket | None) -> bool:
    """Return whether the server closed the idle connection, or sent something unsolicited on it."""
    if sock is None:
        return True
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def _tls_context() -> ssl.SSLContext:
    """Trust the system's certificates, or botocore's if the system has none."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        botocore = find_spec("botocore")
        if botocore is not None and botocore.origin is not None:
            context.load_verify_locations(Path(botocore.origin).with_name("cacert.pem"))
    return context
