"""Settings of an S3 store."""

from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pagestore.keys import LIST_PAGE_KEYS
from pagestore.retry import RetryPolicy
from pagestore.stores.hedge_ledger import HedgePolicy
from pagestore.stores.metered import PART_BYTES_DEFAULT

ClientName: TypeAlias = Literal["auto", "boto3", "obstore"]

URL_OPTIONS = ("endpoint", "region", "client", "hedge_budget")
"""The settings that an S3 URL may contain, in the order in which they are written."""
PART_BYTES_MIN = 5 * 2**20
"""S3 refuses smaller parts (except the last)."""
PARTS_MAX = 10_000
"""S3 refuses more parts."""


def _check_endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if "@" in parts.netloc:
        raise ValueError("an endpoint must not contain credentials")
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("an endpoint looks like https://s3.example.com or http://127.0.0.1:9000")
    return endpoint.rstrip("/")


class S3Settings(BaseModel):
    """How to reach an S3 server, with retries and time-outs; credentials come only from AWS's standard chain."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    endpoint: Annotated[str, AfterValidator(_check_endpoint)] | None = None
    """Base URL of an S3-compatible server; None for AWS_ENDPOINT_URL, the profile's, or AWS itself."""
    region: str | None = Field(default=None, min_length=1)
    """None for AWS_REGION or the profile's region, else us-east-1."""
    client: ClientName = "auto"
    """The client library; ``auto`` is obstore if it is installed and supports the set-up, else boto3."""
    parallelism: int = Field(default=16, ge=1, le=256)
    """How many concurrent requests callers should use, and how many connections are pooled."""
    attempts_max: int = Field(default=6, ge=1, le=100)
    """How often a request is tried before `StoreUnavailable`."""
    backoff_base_s: float = Field(default=0.1, ge=0)
    """The first wait is random up to this; the upper bound doubles with each further wait."""
    backoff_max_s: float = Field(default=5.0, ge=0)
    call_s_max: float = Field(default=120.0, gt=0)
    """No try of a request begins later than this after the first one."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    read_timeout_s: float = Field(default=30.0, gt=0)
    """The longest silence of the server, not the length of the whole transfer."""
    first_answer_s: float = Field(default=10.0, gt=0)
    """Until the server has answered once: its longest silence, and how long a request is retried."""
    part_bytes: int = Field(default=PART_BYTES_DEFAULT, ge=PART_BYTES_MIN)
    """The size of a part of a streamed upload; an object has at most 10,000 parts."""
    part_parallelism: int = Field(default=4, ge=1, le=64)
    """How many parts are sent at once; a streamed upload holds at most two more in memory."""
    list_page_keys: int = Field(default=LIST_PAGE_KEYS, ge=1, le=LIST_PAGE_KEYS)
    """How many keys to request per page of a listing."""

    hedge_budget: float = Field(default=0.05, ge=0, le=0.5)
    """The share of reads that may be sent a second time because they are late; 0 for none."""
    hedge_quantile: float = Field(default=0.95, ge=0.5, lt=1)
    """A read is late when it takes longer than this share of the recent reads of its kind."""
    hedge_delay_min_s: float = Field(default=0.05, ge=0)
    """A read is never late before this."""

    @property
    def hedge_policy(self) -> HedgePolicy:
        """The hedging policy that these settings describe."""
        return HedgePolicy(self.hedge_budget, self.hedge_quantile, self.hedge_delay_min_s)

    @property
    def first_silence_s(self) -> float:
        """The longest silence to wait for until `S3Api.wait_longer` is called."""
        return min(self.first_answer_s, self.read_timeout_s)

    @property
    def retry_policy(self) -> RetryPolicy:
        """The retry policy that these settings describe."""
        return RetryPolicy(
            attempts_max=self.attempts_max,
            backoff_base_s=self.backoff_base_s,
            backoff_max_s=self.backoff_max_s,
            call_s_max=self.call_s_max,
        )
