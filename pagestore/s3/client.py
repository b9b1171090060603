"""The S3 client, and the only place where its requests are retried.

The client is created at the first request: importing one takes up to a third of a second, and local commits do not need
it. The clients themselves never retry. Safe for several threads; a forked process creates its own client.
"""

import dataclasses
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from pagestore.errors import PageStoreError, StoreRefused, StoreUnavailable
from pagestore.retry import RetryPolicy, random_fraction
from pagestore.runtime import Runtime
from pagestore.s3.access import Unsupported, find_access
from pagestore.s3.api import S3Api
from pagestore.s3.endpoint_check import wrong_scheme
from pagestore.s3.errors import Answer, GiveUp, TryAgain, WrongReply, judge
from pagestore.s3.settings import S3Settings

Reply = TypeVar("Reply")


class S3Requests:
    """Sends requests to one bucket."""

    def __init__(self, bucket: str, settings: S3Settings, runtime: Runtime) -> None:
        """Prepare; nothing is sent or imported yet."""
        self._bucket = bucket
        self._settings = settings
        self._runtime = runtime
        self._lock = threading.Lock()  # guards the members below
        self._api: S3Api | None = None
        self._pid = os.getpid()
        self._closed = False
        self._heard = False
        """Whether an S3 server has ever answered."""
        self._silent_until_s = 0.0
        """A silent endpoint is not asked again before this time of the monotonic clock."""
        self._silence = ""

    @property
    def where(self) -> str:
        """Bucket and endpoint, for messages."""
        endpoint = self._settings.endpoint or (self._api and self._api.endpoint)
        return f"bucket {self._bucket}" + (f" at {endpoint}" if endpoint else "")

    def send(
        self, request: Callable[[S3Api], Reply], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Reply | Answer:
        """Return what ``request`` returns, or the error reply whose meaning depends on the request.

        Transient errors are retried with full jitter until the policy or ``cancelled`` ends that, then raise
        `StoreUnavailable`. Before the server's first answer that is soon, since the address may be wrong. Errors that
        the user must fix raise `StoreRefused` at once. A reply that is not the object raises `WrongReply`; the caller
        adds the object's name.
        """
        begun_s = self._runtime.monotonic_s()
        if begun_s < self._silent_until_s:
            raise StoreUnavailable(self._silence)
        attempts = 0
        while True:
            attempts += 1
            try:
                reply = request(self._open())
            except PageStoreError:
                raise
            except WrongReply:
                self._heard = True
                raise
            except Exception as error:
                verdict = judge(error, self.where)
                if isinstance(verdict, GiveUp):
                    raise verdict.error from error
                self._listen(verdict, error, first=attempts == 1)
                if isinstance(verdict, Answer):
                    return verdict
                elapsed_s = self._runtime.monotonic_s() - begun_s
                wait_s = self._policy().wait_s(attempts, elapsed_s, random_fraction(self._runtime))
                if wait_s is None or cancelled():
                    raise self._given_up(verdict, attempts, elapsed_s) from error
            else:
                self._heard = True
                return reply
            self._runtime.sleep_s(wait_s)

    def close(self) -> None:
        """Close all connections; `send` raises `RuntimeError` afterwards."""
        with self._lock:
            self._closed = True
            api, self._api = self._api, None
        if api is not None:
            api.close()

    def _listen(self, verdict: TryAgain | Answer, error: Exception, *, first: bool) -> None:
        """Record whether the server has answered; if it never has, check whether the endpoint's scheme is wrong."""
        is_s3 = verdict.code != str(verdict.status) if isinstance(verdict, Answer) else verdict.answered
        if is_s3 or self._heard:
            if not is_s3 and isinstance(verdict, TryAgain):
                self._open().wait_longer()
            self._heard = True
        elif first:
            words = wrong_scheme(self._open().endpoint)
            if words is not None:
                raise StoreRefused(f"{self.where} {words}") from error

    def _policy(self) -> RetryPolicy:
        policy = self._settings.retry_policy
        if self._heard:
            return policy
        return dataclasses.replace(policy, call_s_max=min(policy.call_s_max, self._settings.first_answer_s))

    def _given_up(self, verdict: TryAgain, attempts: int, elapsed_s: float) -> StoreUnavailable:
        tries = f"{attempts} {'try' if attempts == 1 else 'tries'}, {elapsed_s:.1f} s"
        words = f"{self.where} gave no good answer in {tries}: {verdict.reason}"
        if not self._heard:
            words += "; it has never answered: check the endpoint's host and port, and the network"
            if elapsed_s >= self._settings.first_silence_s:
                self._silence = words
                self._silent_until_s = self._runtime.monotonic_s() + self._settings.first_silence_s
        return StoreUnavailable(words)

    def _open(self) -> S3Api:
        with self._lock:
            if self._closed:
                raise RuntimeError(f"the store of {self.where} is closed")
            if self._api is None or self._pid != os.getpid():
                self._api = self._new_api()
                self._pid = os.getpid()
            return self._api

    def _new_api(self) -> S3Api:
        """Return the client that the settings name, else the fastest one that supports the environment's set-up."""
        if self._settings.client != "boto3":
            access = find_access(self._bucket, self._settings, os.environ)
            if not isinstance(access, Unsupported):
                from pagestore.s3 import obstore_api as obstore_s3  # noqa: PLC0415 - needs obstore, which is optional

                if obstore_s3.is_usable_here():
                    return obstore_s3.ObstoreApi(self._bucket, access, self._settings, self._runtime)
                access = Unsupported("its threads did not survive the fork of this process")
            if self._settings.client == "obstore":
                raise StoreRefused(
                    f"{self.where} cannot be reached through obstore: {access.reason}; use ?client=boto3 in the URL"
                )
        from pagestore.s3.boto3_api import Boto3Api  # noqa: PLC0415 - takes 140 ms to import

        return Boto3Api(self._bucket, self._settings)
