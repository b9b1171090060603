"""The metastore's typed ids."""

from dataclasses import dataclass
from typing import ClassVar

from pagestore.ids import TypedId


@dataclass(frozen=True, slots=True, order=True)
class LogId(TypedId):
    """The id of a commit log."""

    prefix: ClassVar[str] = "l"


@dataclass(frozen=True, slots=True, order=True)
class VolumeId(TypedId):
    """The id of a volume, independent of its name."""

    prefix: ClassVar[str] = "v"
