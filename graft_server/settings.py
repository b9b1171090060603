"""The settings of a server, as validated plain data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from graft.settings import Settings as ReplicaSettings

MIB = 1024 * 1024


def _not_blank(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not text.strip():
        raise ValueError("a token is empty, so anybody could send it; leave the setting out, or set a real token")
    if text != text.strip():
        raise ValueError("a token begins or ends with white space, which HTTP headers drop")
    return token


Token = Annotated[SecretStr, AfterValidator(_not_blank)]
Principal = Annotated[str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True)]


class ServerSettings(BaseModel):
    """Settings of a server; sizes in bytes, times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    remote: str
    """The store in which documents are volumes: ``s3://bucket/prefix`` or a directory, without a volume."""
    directory: Path
    """The directory of the coordinators' inboxes and replicas; one server process at a time uses it."""
    upload_token: Token | None = None
    """Clients with this token may upload reducers and move documents to other reducers; None: no client may."""
    document_token: Token | None = None
    """Clients with this token may create, open and edit documents; without any token, knowing the id is enough."""
    document_tokens: Mapping[Principal, Token] = Field(default_factory=dict)
    """Like `document_token`, one for each principal; a client with the token acts as that principal."""
    anonymous_timelines: bool = True
    """Whether to accept mutations of authors without their timeline's secret and without a principal's token.

    SQLSync's published clients have no secret. Without principals' tokens, any client that knows the id of such a
    timeline, which all clients of the document can read, may write to it.
    """
    origins: tuple[str, ...] = ()
    """Web origins whose pages may use the server, ``*`` for all; pages of the server's own origin always may."""
    hosts: tuple[str, ...] = ()
    """Host names that requests may use, ``*`` for all; IP addresses and localhost are always accepted."""
    poll_s: float = Field(default=1.0, gt=0)
    """How often to poll for commits of other writers, while a client is connected to a document."""
    maintain_every_s: float = Field(default=0.0, ge=0)
    """How often to compact documents that need it and to collect old versions, by the rules in `replica`; 0: never."""
    idle_s: float = Field(default=60.0, ge=0)
    """How long a document without users stays open."""
    documents_max: int = Field(default=500, ge=1)
    """How many documents may be open at once; fewer if the process may open too few files."""
    blank_s: float = Field(default=30.0, ge=0)
    """How long a document with users but without mutations stays open while others wait for room."""
    connections_max: int = Field(default=1000, ge=1)
    """How many connections and requests may use one document at once."""
    message_bytes_max: int = Field(default=16 * MIB, ge=64 * 1024)
    """The largest message or request body that a client may send."""
    frame_bytes_max: int = Field(default=64 * MIB, ge=64 * 1024)
    """The largest storage frame to send; a new client gets the whole document in one frame."""
    bodies_bytes_max: int = Field(default=128 * MIB, ge=64 * 1024)
    """How many bytes of request bodies the server holds at once; a quarter of that for one client or document."""
    body_s: float = Field(default=30.0, gt=0)
    """How long a request body may take to arrive."""
    call_s: float = Field(default=60.0, gt=0)
    """How long a request waits for the document's directory or for the store before it fails."""
    open_s: float = Field(default=30.0, gt=0)
    """How long a request waits for its document to be opened."""
    close_s: float = Field(default=10.0, gt=0)
    """How long the server waits for documents to be closed when it ends."""
    threads: int = Field(default=64, ge=4)
    """How many documents may be opened or closed at the same time."""
    replica: ReplicaSettings = ReplicaSettings()

    @model_validator(mode="after")
    def _require_distinct(self) -> Self:
        texts = [token.get_secret_value() for token in (*self.document_tokens.values(), self.document_token) if token]
        if len(set(texts)) < len(texts):
            raise ValueError("two principals have the same token; each needs its own")
        return self
