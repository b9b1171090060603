"""The metastore's typed ids."""

from dataclasses import dataclass
from typing import ClassVar

from pagestore.ids import TypedId


@dataclass(frozen=True, slots=True, order=True)
class LogId(TypedId):
    """Names a commit log."""

    prefix: ClassVar[str] = "l"


@dataclass(frozen=True, slots=True, order=True)
class VolumeId(TypedId):
    """Names a volume, whatever it is called."""

    prefix: ClassVar[str] = "v"
