"""Lineage: which log contains each version of a volume (pure).

A branch's log continues another log: its first commit has the LSN after the one at which it was forked. The versions up
to that LSN are in the logs of its ancestors.

    main        1  2  3  4  5  6          log A
    experiment           4 ─ 5  6  7      log B, whose first commit is 5; 4 and below are A's
    trial                       6 ─ 7     log C, whose first commit is 7; 5 and 6 are B's, 4 and below A's
"""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from metastore.ids import LogId, VolumeId
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.records import LogIdField, LsnField, VolumeIdField


class Parent(BaseModel):
    """The volume and commit that a fork started from."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    volume: VolumeIdField
    log: LogIdField
    lsn: LsnField


@dataclass(frozen=True, slots=True)
class Lineage:
    """A volume's own log, and the logs of its ancestors up to the fork."""

    volume: VolumeId
    log: LogId
    earlier: tuple[Parent, ...] = ()
    """The ancestors, the nearest first; `Parent.lsn` is the last of the volume's versions in that log."""

    @property
    def start(self) -> LSN:
        """The LSN after which the volume's own log begins."""
        return self.earlier[0].lsn if self.earlier else BEFORE_FIRST

    def log_of(self, lsn: int) -> LogId:
        """Return the log that contains a version."""
        log = self.log
        for parent in self.earlier:
            if lsn > parent.lsn:
                break
            log = parent.log
        return log

    def up_to(self, lsn: LSN) -> tuple[Parent, ...]:
        """Return the `earlier` of a volume forked from this one at an LSN; empty for LSN 0."""
        if lsn == BEFORE_FIRST:
            return ()
        if lsn > self.start:
            return (Parent(volume=self.volume, log=self.log, lsn=lsn), *self.earlier)
        containing = max(place for place, parent in enumerate(self.earlier) if lsn <= parent.lsn)
        return (self.earlier[containing].model_copy(update={"lsn": lsn}), *self.earlier[containing + 1 :])
