"""What is compared over the network: this project with each of its S3 clients.

graft           obstore, as with the extra ``fast``
graft-boto3     boto3, as without it
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Client:
    """One of the S3 clients."""

    name: str
    """The name in the rows."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that the measured process needs."""


CLIENTS = {
    client.name: client
    for client in (
        Client("graft", {"GRAFT_S3_CLIENT": "obstore"}),
        Client("graft-boto3", {"GRAFT_S3_CLIENT": "boto3"}),
    )
}

FAST = ("graft",)
BOTH = ("graft", "graft-boto3")
