"""The settings of a server, as plain validated data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from graft.settings import Settings as ReplicaSettings

MIB = 1024 * 1024


def _not_blank(token: SecretStr) -> SecretStr:
    text = token.get_secret_value()
    if not text.strip():
        raise ValueError("a token is empty: everybody could show it; leave the setting out, or give a real one")
    if text != text.strip():
        raise ValueError("a token begins or ends with white space, which no header carries")
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
    """Who shows it may upload reducers and move documents to another one; without one nobody may."""
    document_token: Token | None = None
    """Who shows it may make, open and edit documents; without any token everybody may who knows the id."""
    document_tokens: Mapping[Principal, Token] = Field(default_factory=dict)
    """Like `document_token`, one for each principal: what is done with it, is done by that principal."""
    anonymous_timelines: bool = True
    """Whether to take mutations of authors that show neither their timeline's secret nor a principal's token.

    SQLSync's published clients have no secret. Without tokens of their own, whoever knows the id of such a timeline,
    which all clients of the document can read, may write to it.
    """
    origins: tuple[str, ...] = ()
    """Web origins whose pages may talk to the server, ``*`` for all; pages that the server's own origin served may."""
    hosts: tuple[str, ...] = ()
    """Names by which clients may call the server, ``*`` for all; addresses and localhost always count."""
    poll_s: float = Field(default=1.0, gt=0)
    """How often to look for what other writers pushed, while anybody is connected to a document."""
    idle_s: float = Field(default=60.0, ge=0)
    """How long a document stays open that nobody uses."""
    documents_max: int = Field(default=500, ge=1)
    """How many documents may be open at once, if the process may open files enough; idle ones make room for others."""
    blank_s: float = Field(default=30.0, ge=0)
    """How long a document that has users, but that nobody ever wrote to, stays open while others wait for room."""
    connections_max: int = Field(default=1000, ge=1)
    """How many connections and requests may use one document at once."""
    message_bytes_max: int = Field(default=16 * MIB, ge=64 * 1024)
    """The largest message, or request body, that a client may send."""
    frame_bytes_max: int = Field(default=64 * MIB, ge=64 * 1024)
    """The largest storage frame to send; a new client gets the whole document in one."""
    bodies_bytes_max: int = Field(default=128 * MIB, ge=64 * 1024)
    """How much of request bodies the server holds at once; a quarter of it for one client or one document."""
    body_s: float = Field(default=30.0, gt=0)
    """How long a request body may take to arrive."""
    call_s: float = Field(default=60.0, gt=0)
    """How long a request waits for the document's directory or for the store, before it is told to try again later."""
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
            raise ValueError("two principals have the same token: nobody could tell them apart")
        return self
