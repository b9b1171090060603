"""One boto3 client, and the one place where its requests are tried again.

The client is made at the first request, since importing boto3 takes a third of a second that a local commit
need not wait for. botocore's own retries are off. Safe for several threads; a forked process opens its own.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pagestore.errors import PageStoreError, StoreUnavailable
from pagestore.retry import random_fraction
from pagestore.runtime import Runtime
from pagestore.s3_errors import Answer, GiveUp, judge
from pagestore.s3_settings import S3Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Reply = TypeVar("Reply")


class S3Requests:
    """Sends requests to one bucket."""

    def __init__(self, bucket: str, settings: S3Settings, runtime: Runtime) -> None:
        """Prepare; nothing is sent or imported yet."""
        self._bucket = bucket
        self._settings = settings
        self._runtime = runtime
        self._lock = threading.Lock()  # guards `_client`
        self._client: S3Client | None = None

    @property
    def where(self) -> str:
        """Bucket and endpoint, for messages."""
        endpoint = self._settings.endpoint or (self._client and self._client.meta.endpoint_url)
        return f"bucket {self._bucket}" + (f" at {endpoint}" if endpoint else "")

    def send(
        self,
        request: Callable[["S3Client"], Reply],
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Reply | Answer:
        """Return what ``request`` returns, or the error reply that it must read itself.

        Passing troubles are waited out, with full jitter, until the settings say stop or ``cancelled`` says
        so; then `StoreUnavailable`. What the user must mend raises `StoreRefused` at once.
        """
        policy = self._settings.retry_policy
        begun_s = self._runtime.monotonic_s()
        attempts = 0
        while True:
            attempts += 1
            try:
                return request(self._open())
            except PageStoreError:
                raise
            except Exception as error:
                verdict = judge(error, self.where)
                if isinstance(verdict, Answer):
                    return verdict
                if isinstance(verdict, GiveUp):
                    raise verdict.error from error
                elapsed_s = self._runtime.monotonic_s() - begun_s
                wait_s = policy.wait_s(attempts, elapsed_s, random_fraction(self._runtime))
                if wait_s is None or cancelled():
                    tried = f"{attempts} tries, {elapsed_s:.1f} s"
                    raise StoreUnavailable(f"{self.where} gave no good answer in {tried}: {verdict.reason}") from error
            self._runtime.sleep_s(wait_s)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _open(self) -> "S3Client":
        with self._lock:
            if self._client is None:
                self._client = _new_client(self._settings)
            return self._client


def _new_client(settings: S3Settings) -> "S3Client":
    """Return a client by AWS's standard chain of variables, profiles and roles.

    botocore addresses buckets by path, not by host name, wherever an endpoint is given, unless the profile
    wants otherwise. Checksums that only AWS knows are left off: other servers fail on them, and TLS,
    Content-MD5 and our own formats' checksums protect the bytes.
    """
    import boto3  # noqa: PLC0415 - takes 140 ms to import
    from botocore.config import Config  # noqa: PLC0415

    session = boto3.session.Session(region_name=settings.region)
    return session.client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=session.region_name or "us-east-1",
        config=Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=settings.connect_timeout_s,
            read_timeout=settings.read_timeout_s,
            max_pool_connections=settings.parallelism + settings.part_parallelism,
            tcp_keepalive=True,
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent_extra="graft",
        ),
    )
