"""The state of a coordinator, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one coordinator."""

    applying: bool
    """Whether the thread that `Coordinator.start` created is running."""
    waiting: int
    """How many accepted mutations are not in the volume yet."""
    isolated: int
    """How many mutations were rejected since opening because they blocked the others."""
    trouble: str | None
    """Why mutations cannot be applied at present; None if they can."""
