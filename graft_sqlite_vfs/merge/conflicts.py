"""What two sides of a merge cannot both have, and who decides."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from graft.errors import BadRequest
from graft_sqlite_vfs.diff.rows import Row, Values

ConflictKind: TypeAlias = Literal["changed", "deleted", "inserted", "unique", "constraint", "foreign key", "schema"]
"""What happened to a row, or a table:

    changed       both sides changed the same column of it, to different values
    deleted       one side changed it, the other deleted it
    inserted      both sides inserted it, with different values
    unique        both sides have rows that a unique index allows only once
    constraint    the row breaks a CHECK or NOT NULL that the other side's schema has
    foreign key   one side refers to a row that the other side deleted
    schema        both sides changed the definition of the same table, index, trigger or view
"""


@dataclass(frozen=True, slots=True)
class Conflict:
    """One row, or one definition, on which both sides disagree."""

    table: str
    key: Values
    kind: ConflictKind
    base: Row | None
    """The row at the version where the sides parted; None if it was not there."""
    ours: Row | None
    """The row on the side that is merged; None if it deleted it."""
    theirs: Row | None
    """The row on the side that it is merged into; None if it deleted it."""
    detail: str = ""

    def swapped(self) -> "Conflict":
        """Return it as the other side sees it."""
        return replace(self, ours=self.theirs, theirs=self.ours)


@dataclass(frozen=True, slots=True)
class Take:
    """Settle a conflict with this row; None deletes it."""

    row: Row | None


OURS: Literal["ours"] = "ours"
THEIRS: Literal["theirs"] = "theirs"
Decision: TypeAlias = Take | Literal["ours", "theirs"] | None
"""How a conflict is settled; None leaves it unsettled, so that the merge fails."""
Decide: TypeAlias = Callable[[Conflict], Decision]
Policy: TypeAlias = Literal["fail", "ours", "theirs", "record"] | Decide
POLICIES = ("fail", "ours", "theirs", "record")


def decide_by(policy: Policy) -> Decide:
    """Return what decides by a policy; ``record`` decides as ``theirs``. Raises `BadRequest` for an unknown one."""
    if callable(policy):
        return policy
    if policy not in POLICIES:
        raise BadRequest(f"no such policy for conflicts: {policy!r} (there are {', '.join(POLICIES)}, or a callable)")
    if policy == "fail":
        return lambda _conflict: None
    decision: Decision = OURS if policy == "ours" else THEIRS
    return lambda _conflict: decision


def swapped(decide: Decide) -> Decide:
    """Return what decides for the other side."""

    def decide_for_other(conflict: Conflict) -> Decision:
        decision = decide(conflict.swapped())
        return THEIRS if decision == OURS else OURS if decision == THEIRS else decision

    return decide_for_other
