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
"""Settings that an S3 URL may hold, in the order that it holds them."""
PART_BYTES_MIN = 5 * 2**20
"""S3 refuses smaller parts (except the last)."""
PARTS_MAX = 10_000
"""S3 refuses more parts."""


def _check_endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if "@" in parts.netloc:
        raise ValueError("an endpoint must not hold credentials")
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("an endpoint looks like https://s3.example.com or http://127.0.0.1:9000")
    return endpoint.rstrip("/")


class S3Settings(BaseModel):
    """How to reach an S3 server, and how patiently; credentials come from AWS's standard chain only."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    endpoint: Annotated[str, AfterValidator(_check_endpoint)] | None = None
    """Base URL of an S3-compatible server; None for AWS_ENDPOINT_URL, the profile's, or AWS itself."""
    region: str | None = Field(default=None, min_length=1)
    """None for AWS_REGION or the profile's, else us-east-1."""
    client: ClientName = "auto"
    """Who sends the requests; ``auto`` is obstore where it is installed and the set-up allows, else boto3."""
    parallelism: int = Field(default=16, ge=1, le=256)
    """Requests at once that callers should use, and connections that are kept."""
    attempts_max: int = Field(default=6, ge=1, le=100)
    """Tries of one request before `StoreUnavailable`."""
    backoff_base_s: float = Field(default=0.1, ge=0)
    """The first wait is random up to this, each later one up to twice as long."""
    backoff_max_s: float = Field(default=5.0, ge=0)
    call_s_max: float = Field(default=120.0, gt=0)
    """No further try begins after so long, counted from the first."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    read_timeout_s: float = Field(default=30.0, gt=0)
    """Longest silence of the server, not the length of the whole transfer."""
    first_answer_s: float = Field(default=10.0, gt=0)
    """Until the server has answered once: its longest silence, and how long new tries begin."""
    part_bytes: int = Field(default=PART_BYTES_DEFAULT, ge=PART_BYTES_MIN)
    """Size of a part of a streamed upload; at most 10,000 of them make an object."""
    part_parallelism: int = Field(default=4, ge=1, le=64)
    """Parts in flight; a streamed upload holds at most two more in memory."""
    list_page_keys: int = Field(default=LIST_PAGE_KEYS, ge=1, le=LIST_PAGE_KEYS)
    """Keys asked for in one page of a listing."""

    hedge_budget: float = Field(default=0.05, ge=0, le=0.5)
    """Reads that may be asked for a second time because they are late, as a share of all reads; 0 for none."""
    hedge_quantile: float = Field(default=0.95, ge=0.5, lt=1)
    """A read is late when it takes longer than this share of the recent ones of its kind …"""
    hedge_delay_min_s: float = Field(default=0.05, ge=0)
    """… and longer than this."""

    @property
    def hedge_policy(self) -> HedgePolicy:
        """The three numbers about hedging."""
        return HedgePolicy(self.hedge_budget, self.hedge_quantile, self.hedge_delay_min_s)

    @property
    def first_silence_s(self) -> float:
        """Longest silence that is waited out before it was ever worth while to wait longer."""
        return min(self.first_answer_s, self.read_timeout_s)

    @property
    def retry_policy(self) -> RetryPolicy:
        """The four numbers about retries."""
        return RetryPolicy(
            attempts_max=self.attempts_max,
            backoff_base_s=self.backoff_base_s,
            backoff_max_s=self.backoff_max_s,
            call_s_max=self.call_s_max,
        )
