"""Named points of documents and coordinators at which tests simulate crashes; see graft/failpoints.py."""

from graft.failpoints import Failpoints

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

_points = Failpoints(FAILPOINTS)
failpoint = _points.pass_by
set_failpoint_hook = _points.set_hook
