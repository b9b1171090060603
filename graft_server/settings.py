"""What may be chosen about a server, as plain validated data."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from graft.settings import Settings as ReplicaSettings

MIB = 1024 * 1024


class ServerSettings(BaseModel):
    """Settings of a server; sizes in bytes, times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    remote: str
    """The store in which documents are volumes: ``s3://bucket/prefix`` or a directory, without a volume."""
    directory: Path
    """Where coordinators keep their inboxes and replicas; one server process has it at a time."""
    upload_token: SecretStr | None = None
    """Who shows it may upload reducers; without one nobody may."""
    document_token: SecretStr | None = None
    """Who shows it may make, open and edit documents; without one everybody may who knows the id."""
    origins: tuple[str, ...] = ()
    """Web origins whose pages may talk to the server, ``*`` for all; pages that the server's own origin served may."""
    poll_s: float = Field(default=1.0, gt=0)
    """How often to look for what other writers pushed, while anybody is connected to a document."""
    idle_s: float = Field(default=60.0, ge=0)
    """How long a document stays open that nobody uses."""
    documents_max: int = Field(default=500, ge=1)
    """How many documents may be open at once."""
    connections_max: int = Field(default=1000, ge=1)
    """How many connections and requests may use one document at once."""
    message_bytes_max: int = Field(default=16 * MIB, ge=64 * 1024)
    """The largest message, or request body, that a client may send."""
    frame_bytes_max: int = Field(default=64 * MIB, ge=64 * 1024)
    """The largest storage frame to send; a new client gets the whole document in one."""
    threads: int = Field(default=64, ge=4)
    """How many blocking calls may be under way."""
    replica: ReplicaSettings = ReplicaSettings()
