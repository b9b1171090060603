"""What a collection keeps, and for how long things that look unused are left alone."""

from dataclasses import dataclass

from graft.errors import BadRequest

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S

GRACE_S_DEFAULT = 3 * DAY_S
"""Segments and uploads that no commit names are younger than this while a push that will name them may be under way.

A push appends within `graft.sync.push.PUSH_DEADLINE_S` of its first upload, or begins anew.
"""
FENCE_S = DAY_S
"""A tombstone lives longer than this: no append that was decided on before it can still be on its way.

Appends are decided on at most `graft.sync.history.PROOF_S_MAX` after the parent was seen, are tried for minutes, and
carry signatures that servers accept for a quarter of an hour.
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """Which versions stay: those that either rule keeps. The newest version always stays."""

    keep_last: int | None
    """How many of the newest versions; None where only time counts."""
    keep_for_s: float | None
    """All versions that were the newest at some time in so many seconds; None where only the count counts."""
    grace_s: float = GRACE_S_DEFAULT
    """Objects that no commit names stay for so many seconds after they were written."""

    def __post_init__(self) -> None:
        if self.keep_last is not None and self.keep_last < 1:
            raise BadRequest(f"at least the newest version of a volume is kept, not {self.keep_last}")
        if self.keep_for_s is not None and self.keep_for_s < 0:
            raise BadRequest(f"versions cannot be kept for {self.keep_for_s:g} seconds")
        if self.grace_s < 0:
            raise BadRequest(f"a grace period cannot last {self.grace_s:g} seconds")
