"""How a coordinator is doing, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """The state of one coordinator."""

    applying: bool
    """Whether the thread that `Coordinator.start` began is there."""
    waiting: int
    """How many mutations were taken and are not in the volume yet."""
    isolated: int
    """How many mutations were rejected since the coordinator was opened because they kept others from being applied."""
    trouble: str | None
    """Why nothing can be applied just now, None if nothing is wrong."""
