"""`ObstoreApi`: obstore's client (Rust's object_store), which takes a sixth of boto3's CPU time and starts at once.

obstore sends GET and PUT. We send the other requests ourselves (`SignedRequests`): those that obstore does not offer
(listings of a few keys, parts of a multipart upload) and those that must not silently follow a redirect (DELETE, HEAD).

obstore's threads do not survive a fork: a process forked from one that has used obstore must not use it.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as ObstoreStore

from pagestore.runtime import Runtime
from pagestore.s3 import deletion, signed_api
from pagestore.s3.access import Access
from pagestore.s3.api import ListPage, NotDeleted, UploadPage
from pagestore.s3.errors import ErrorReply, NoAnswer, NoETag, TruncatedBody, UntrustedCertificate, WrongReply
from pagestore.s3.listing import list_page
from pagestore.s3.obstore_errors import NotPartial, Unexplained, Unreadable, translate
from pagestore.s3.replies import PLAIN_ENCODINGS, compressed, range_ignored
from pagestore.s3.settings import S3Settings
from pagestore.s3.signed_http import SignedRequests
from pagestore.s3.sigv4 import Credentials

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import ClientConfig, S3Config

_LONG_BODY_BYTES = 256 * 1024
_ENDS_OF_REDIRECTS = frozenset({301, 302, 303, 307, 308, 400, 401, 403, 404, 405})
_RAISED = (BaseError, FileNotFoundError, FileExistsError, PermissionError)

_CLIENTS_MAX = 4
_clients: dict[tuple[object, ...], ObstoreStore] = {}
"""The most recent clients by their settings: making one takes 10 ms, and a replica is opened right after cloning."""
_clients_lock = threading.Lock()  # guards _clients

_user_pid: int | None = None
"""The process that obstore's threads run in, once they have started."""


def is_usable_here() -> bool:
    """Return False in a process forked from one that has used obstore."""
    return _user_pid in {None, os.getpid()}


class ObstoreApi:
    """The `S3Api` of a bucket, through obstore."""

    def __init__(self, bucket: str, access: Access, settings: S3Settings, runtime: Runtime) -> None:
        """Prepare; nothing is sent yet."""
        global _user_pid  # noqa: PLW0603 - obstore's threads are global too
        _user_pid = os.getpid()
        self._bucket = bucket
        self._access = access
        self._settings = settings
        self._signed = SignedRequests(access, settings, runtime)
        self._checksums = True
        """Whether to send the SHA-256 header that Object Lock requires; False once the server has refused it."""
        self._is_patient = False
        self._lock = threading.Lock()  # guards the members below
        self._stores: dict[tuple[float, bool], ObstoreStore] = {}  # by read time-out and checksums
        self._credentials: Credentials | None = None  # those of `_stores`

    @property
    def endpoint(self) -> str:
        """The server's base URL, from the settings or the environment."""
        return self._access.endpoint

    def wait_longer(self) -> None:
        """From now on, wait the whole ``read_timeout_s`` for a silent server."""
        self._is_patient = True
        self._signed.wait_longer()

    def get(self, full_key: str) -> bytes:
        """Return the whole object, requested as a range from 0 on, so that the reply states the whole length."""
        try:
            return _body(self._get(full_key, {"range": {"offset": 0}}))
        except (NotPartial, ErrorReply) as error:
            if isinstance(error, ErrorReply) and error.status != 416:  # the reply for an empty object
                raise
        return _body(self._get(full_key, {}))

    def get_range(self, full_key: str, start: int, length: int) -> bytes:
        """Return a slice of the object."""
        try:
            return _body(self._get(full_key, {"range": (start, start + length)}))
        except NotPartial as error:
            if start > 0:
                raise WrongReply(range_ignored(start, length)) from error
        whole = self._get(full_key, {})
        if whole.meta["size"] > length:
            raise WrongReply(range_ignored(start, length))
        return _body(whole)

    def put(self, full_key: str, body: bytes, *, if_absent: bool) -> None:
        """Create or replace the object; the request's signature and a checksum cover the body."""
        if len(body) > _LONG_BODY_BYTES and not self._is_patient:
            # obstore cannot tell a silent server from one that is still receiving the body.
            signed_api.put_whole(self._signed, full_key, body, if_absent=if_absent)
            return
        try:
            self._put(full_key, body, if_absent=if_absent)
        except ErrorReply as error:
            if not (self._checksums and _refuses_checksums(error)):
                raise
            self._checksums = False
            self._put(full_key, body, if_absent=if_absent)

    def _put(self, full_key: str, body: bytes, *, if_absent: bool) -> None:
        store = self._store(long_body=len(body) > _LONG_BODY_BYTES)
        try:
            obstore.put(store, full_key, body, mode="create" if if_absent else "overwrite", use_multipart=False)
        except _RAISED as error:
            ours = translate(error)
            raise self._explained(ours, full_key) if _is_redirect(ours) else ours from error

    def delete(self, full_key: str) -> None:
        """Remove the object."""
        signed_api.delete(self._signed, full_key)

    def delete_many(self, full_keys: Sequence[str]) -> Sequence[NotDeleted]:
        """Remove objects with one request."""
        return deletion.delete_many(self._signed, full_keys)

    def size(self, full_key: str) -> int:
        """Return the object's size in bytes."""
        return signed_api.size(self._signed, full_key)

    def list_page(self, prefix: str, *, start_after: str, token: str, wanted: int) -> ListPage:
        """Return one page of a listing."""
        return list_page(self._signed, prefix, start_after=start_after, token=token, wanted=wanted)

    def create_upload(self, full_key: str) -> str:
        """Begin a multipart upload."""
        return signed_api.create_upload(self._signed, full_key)

    def upload_part(self, full_key: str, upload_id: str, number: int, body: bytes) -> str:
        """Send a part; the signature covers it."""
        return signed_api.upload_part(self._signed, full_key, upload_id, number, body)

    def complete_upload(self, full_key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Create the object from its parts."""
        signed_api.complete_upload(self._signed, full_key, upload_id, etags)

    def abort_upload(self, full_key: str, upload_id: str) -> None:
        """Delete the parts sent so far."""
        signed_api.abort_upload(self._signed, full_key, upload_id)

    def list_uploads(self, prefix: str, marker: tuple[str, str] | None) -> UploadPage:
        """Return unfinished uploads."""
        return deletion.list_uploads(self._signed, prefix, marker)

    def close(self) -> None:
        """Close our connections; obstore closes its own after a while of idleness."""
        with self._lock:
            self._stores.clear()
            self._credentials = None
        self._signed.close()

    def _get(self, full_key: str, options: "GetOptions") -> "GetResult":
        try:
            found = obstore.get(self._store(), full_key, options=options)
        except _RAISED as error:
            raise self._explained(translate(error), full_key) from error
        if not found.meta["e_tag"]:
            raise self._explained(NoETag(), full_key)
        return found

    def _explained(self, error: Exception, full_key: str) -> Exception:
        """Return ``error``, or the reply behind it: a redirect, or an error reply whose status obstore does not report.

        Sends one more request, but only for an error that a redirect may have caused, or one without a status.
        """
        is_clear = not isinstance(error, Unexplained | NoETag | UntrustedCertificate) and not (
            isinstance(error, ErrorReply) and error.code == str(error.status) and error.status in _ENDS_OF_REDIRECTS
        )
        if is_clear:
            return error
        with suppress(OSError, NoAnswer, UntrustedCertificate):
            reply = self._signed.send("GET", full_key, {}, more_headers={"range": "bytes=0-0"})
            if 300 <= reply.status < 400 or (isinstance(error, Unreadable) and reply.status >= 400):
                return reply.error()
        return error

    def _store(self, *, long_body: bool = False) -> ObstoreStore:
        """Return the store for the current credentials; a long body has more time to be sent."""
        credentials = self._access.credentials()
        # obstore counts the time in which the server receives a long body as silence too.
        silence_s = self._settings.read_timeout_s if self._is_patient else self._settings.first_silence_s
        if long_body:
            silence_s = max(silence_s, self._settings.call_s_max)
        with self._lock:
            if credentials != self._credentials:
                self._stores.clear()
                self._credentials = credentials
            kind = (silence_s, self._checksums)
            store = self._stores.get(kind)
            if store is None:
                store = self._stores[kind] = self._new_store(credentials, silence_s, checksums=self._checksums)
            return store

    def _new_store(self, credentials: Credentials, silence_s: float, *, checksums: bool) -> ObstoreStore:
        """Return a store that ignores the environment, never retries and has no limit on a transfer's total time."""
        access = self._access
        endpoint = access.bucket_url if access.by_host_name else access.endpoint
        client: ClientConfig = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=self._settings.connect_timeout_s),
            "read_timeout": timedelta(seconds=silence_s),
            "timeout": timedelta(days=1),
            "user_agent": "graft",
        }
        config: S3Config = {
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,
            "region": access.region,
            "virtual_hosted_style_request": access.by_host_name,
            "access_key_id": credentials.key_id,
            "secret_access_key": credentials.secret,
            "skip_signature": False,
            "unsigned_payload": False,
            "disable_bulk_delete": True,
        }
        if credentials.token is not None:
            config["session_token"] = credentials.token
        if checksums:
            config["checksum_algorithm"] = "SHA256"
        made_of = (self._bucket, *sorted(config.items()), *sorted(client.items()))
        with _clients_lock:
            found = _clients.pop(made_of, None) or ObstoreStore(
                self._bucket,
                config=config,
                client_options=client,
                retry_config={"max_retries": 0, "retry_timeout": timedelta(0)},
            )
            _clients[made_of] = found
            if len(_clients) > _CLIENTS_MAX:
                del _clients[next(iter(_clients))]
        return found


def _is_redirect(error: Exception) -> bool:
    """Return whether a PUT was redirected, which obstore does not follow."""
    return (isinstance(error, ErrorReply) and 300 <= error.status < 400) or type(error) is Unexplained


def _refuses_checksums(error: ErrorReply) -> bool:
    """Return whether the server says that it does not support the checksum's header."""
    return error.status in {400, 501} and "x-amz-checksum" in error.message.lower()


def _body(result: "GetResult") -> bytes:
    encoding = str(result.attributes.get("Content-Encoding", ""))
    if encoding not in PLAIN_ENCODINGS:
        raise WrongReply(compressed(encoding))
    start, end = result.range
    try:
        body = bytes(result.bytes())
    except _RAISED as error:
        raise translate(error) from error
    if len(body) != end - start:
        raise TruncatedBody(f"{len(body)} bytes arrived, {end - start} were announced")
    return body
