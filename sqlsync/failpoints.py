"""Named points of documents and coordinators at which a crash would be interesting; see graft/failpoints.py."""

from collections.abc import Callable

FAILPOINTS = (
    "mutate: after append",
    "mutate: after run",
    "mutate: after take back",
    "rebase: after move",
    "rebase: after confirm",
    "rebase: after replay",
    "direct: after push",
    "coordinator: after inbox",
    "coordinator: after apply",
    "coordinator: after push",
    "coordinator: after drop",
    "coordinator: after pull",
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
