"""Named points at which a crash would be interesting; the crash tests iterate over them.

A point costs one falsy check unless a test set a hook.
"""

from collections.abc import Callable

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
    "pull: after fetch",
    "pull: after state",
)

_hook: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """Call the hook, if there is one."""
    if _hook is not None:
        assert name in FAILPOINTS, f"BUG: unknown failpoint {name}"
        _hook(name)


def set_failpoint_hook(hook: Callable[[str], None] | None) -> None:
    """Set what is called at each point, for tests; None for nothing."""
    global _hook  # noqa: PLW0603 - one switch for a whole test process
    _hook = hook
