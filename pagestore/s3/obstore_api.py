"""`ObstoreApi`: obstore's client (Rust's object_store), which takes a sixth of boto3's CPU and starts at once.

It sends GET, PUT, DELETE and HEAD. What it cannot do, listings of a few keys and the parts of a multipart upload, are
requests of our own (`SignedRequests`).

obstore's threads do not survive a fork: a process that was forked from one that had used obstore must not use it.
"""

import os
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as ObstoreStore

from pagestore.runtime import Runtime
from pagestore.s3 import multipart as s3_multipart
from pagestore.s3.access import Access
from pagestore.s3.api import ListPage
from pagestore.s3.errors import ErrorReply, TruncatedBody, WrongReply
from pagestore.s3.listing import list_page
from pagestore.s3.obstore_errors import NotPartial, translate
from pagestore.s3.replies import PLAIN_ENCODINGS, compressed, range_ignored
from pagestore.s3.settings import S3Settings
from pagestore.s3.signed_http import SignedRequests
from pagestore.s3.sigv4 import Credentials

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import ClientConfig, S3Config

_LONG_BODY_BYTES = 256 * 1024
_RAISED = (BaseError, FileNotFoundError, FileExistsError, PermissionError)

_CLIENTS_MAX = 4
_clients: dict[tuple[object, ...], ObstoreStore] = {}
"""Those made last, by what they were made of: making one takes 10 ms, and a replica is opened right after cloning."""
_clients_lock = threading.Lock()  # guards _clients

_user_pid: int | None = None
"""The process that obstore's threads run in, once there are any."""


def is_usable_here() -> bool:
    """Whether this process is not a fork of one that had used obstore."""
    return _user_pid in {None, os.getpid()}


class ObstoreApi:
    """The `S3Api` of a bucket, through obstore."""

    def __init__(self, bucket: str, access: Access, settings: S3Settings, runtime: Runtime) -> None:
        """Prepare; nothing is sent yet."""
        global _user_pid  # noqa: PLW0603 - as global as obstore's threads are
        _user_pid = os.getpid()
        self._bucket = bucket
        self._access = access
        self._settings = settings
        self._signed = SignedRequests(access, settings, runtime)
        self._lock = threading.Lock()  # guards the members below
        self._stores: dict[float, ObstoreStore] = {}  # by read time-out
        self._credentials: Credentials | None = None  # of `_stores`

    @property
    def endpoint(self) -> str:
        """As given or found."""
        return self._access.endpoint

    def get(self, full_key: str) -> bytes:
        """Return the whole object, asked for as a range from 0 on, so that the reply tells that it is all of it."""
        try:
            return _body(self._get(full_key, {"range": {"offset": 0}}))
        except (NotPartial, ErrorReply) as error:
            if isinstance(error, ErrorReply) and error.status != 416:  # which is what an empty object says
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
        """Create or replace the object; the signature covers the body."""
        store = self._store(long_body=len(body) > _LONG_BODY_BYTES)
        try:
            obstore.put(store, full_key, body, mode="create" if if_absent else "overwrite", use_multipart=False)
        except _RAISED as error:
            raise translate(error) from error

    def delete(self, full_key: str) -> None:
        """Remove the object."""
        try:
            obstore.delete(self._store(), full_key)
        except _RAISED as error:
            raise translate(error) from error

    def size(self, full_key: str) -> int:
        """Return the object's bytes."""
        try:
            return obstore.head(self._store(), full_key)["size"]
        except _RAISED as error:
            raise translate(error) from error

    def list_page(self, prefix: str, *, start_after: str, token: str, wanted: int) -> ListPage:
        """Return one page of a listing."""
        return list_page(self._signed, prefix, start_after=start_after, token=token, wanted=wanted)

    def create_upload(self, full_key: str) -> str:
        """Begin a multipart upload."""
        return s3_multipart.create_upload(self._signed, full_key)

    def upload_part(self, full_key: str, upload_id: str, number: int, body: bytes) -> str:
        """Send a part; the signature covers it."""
        return s3_multipart.upload_part(self._signed, full_key, upload_id, number, body)

    def complete_upload(self, full_key: str, upload_id: str, etags: Sequence[str]) -> None:
        """Make the object of its parts."""
        s3_multipart.complete_upload(self._signed, full_key, upload_id, etags)

    def abort_upload(self, full_key: str, upload_id: str) -> None:
        """Drop the parts sent."""
        s3_multipart.abort_upload(self._signed, full_key, upload_id)

    def close(self) -> None:
        """Close all connections; obstore's own go when they were idle for a while."""
        with self._lock:
            self._stores.clear()
            self._credentials = None
        self._signed.close()

    def _get(self, full_key: str, options: "GetOptions") -> "GetResult":
        try:
            return obstore.get(self._store(), full_key, options=options)
        except _RAISED as error:
            raise translate(error) from error

    def _store(self, *, long_body: bool = False) -> ObstoreStore:
        """Return the store of the present credentials; a long body has longer to go out."""
        credentials = self._access.credentials()
        # To obstore an answer that waits for a long body to arrive is silence, too.
        silence_s = self._settings.read_timeout_s
        if long_body:
            silence_s = max(silence_s, self._settings.call_s_max)
        with self._lock:
            if credentials != self._credentials:
                self._stores.clear()
                self._credentials = credentials
            store = self._stores.get(silence_s)
            if store is None:
                store = self._stores[silence_s] = self._new_store(credentials, silence_s)
            return store

    def _new_store(self, credentials: Credentials, silence_s: float) -> ObstoreStore:
        """Return a store that reads nothing from the environment, retries nothing and takes any time that is used."""
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
        raise TruncatedBody(f"{len(body)} bytes came, {end - start} were announced")
    return body
