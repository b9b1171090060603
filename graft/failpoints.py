"""Named points at which the crash tests let a process die.

A point costs one check unless a test has set a hook.
"""

from collections.abc import Callable, Collection


class Failpoints:
    """The points of one package, and the hook that its tests set."""

    __slots__ = ("_hook", "_names")

    def __init__(self, names: Collection[str]) -> None:
        """Define the points called ``names``."""
        self._names = names
        self._hook: Callable[[str], None] | None = None

    def pass_by(self, name: str) -> None:
        """Call the hook if one is set."""
        if self._hook is not None:
            assert name in self._names, f"BUG: unknown failpoint {name}"
            self._hook(name)

    def set_hook(self, hook: Callable[[str], None] | None) -> None:
        """Set the function that is called at each point, for tests; None to remove it."""
        self._hook = hook


FAILPOINTS = (
    "commit: before journal",
    "rotation: after sync",
    "rotation: after file",
    "rotation: after name",
    "commit: after journal",
    "commit: after publish",
    "push: before segment",
    "push: after segment",
    "push: after intent",
    "push: after append",
    "push: after cache",
    "push: after state",
    "push: after journal deletion",
    "compact: after segment",
    "compact: after check",
    "deletion: between files",
    "cache: after file",
    "cache: after frame",
    "cache: after index",
    "evict: after unlink",
    "evict: after index",
    "cleaning: after index",
    "cleaning: after file",
    "pull: after fetch",
    "pull: after state",
)

REMOTE_FAILPOINTS = (
    "gc: after announcement",
    "gc: between segments",
    "gc: after segments",
    "gc: between tombstones",
    "gc: after tombstones",
    "gc: after deletion",
    "rm: after closing",
    "rm: after name",
    "mv: after new name",
    "cp: between segments",
    "cp: before commit",
    "cp: before name",
)
"""Points of what works on a remote and needs no replica: collecting, removing, renaming, copying."""

VERSION_FAILPOINTS = ("merge: after prepare",)
"""Points of moves between versions that not every replica makes; their own tests have them."""

_points = Failpoints((*FAILPOINTS, *REMOTE_FAILPOINTS, *VERSION_FAILPOINTS))
failpoint = _points.pass_by
set_failpoint_hook = _points.set_hook
