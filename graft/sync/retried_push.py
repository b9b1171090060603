"""A push that merges what others pushed first, and tries again.

One of several writers wins each LSN. A loser merges and tries again after a random wait, which grows with its failures
up to a bound: writers that wait equally long would meet again.
"""

from typing import Any

from graft.building.progress import Progress
from graft.building.segment_builder import Layout
from graft.errors import BadRequest, Diverged
from graft.replica.replica import Replica
from graft.sync.pull import pull
from graft.sync.push import PushResult
from graft.sync.push import push as push_once

_WAIT_S, _WAIT_S_MAX = 0.01, 0.5


def push(
    replica: Replica,
    *,
    message: str | None = None,
    layout: Layout | None = None,
    progress: Progress | None = None,
    retry: int = 0,
    conflicts: Any = "fail",
) -> PushResult:
    """Push all local commits as one remote commit; ``layout`` orders the pages of a bulk load for cold reads.

    If others pushed first, this pulls with the policy ``merge`` and tries again, up to ``retry`` times; ``conflicts``
    as in `pull`. ``progress`` gets the bytes of the pages that are sent, before compression.

    Raises `Diverged` if somebody else pushed first and no try is left, `MergeConflict`, `RemoteUnavailable` if the
    outcome is unknown (the next push settles it) or nothing was sent, `HistoryLost` if the remote lacks what the local
    commits build on, `RemoteRefused`, and `WriterBusy` if another push or pull takes too long.
    """
    for attempt in range(retry + 1):
        try:
            return push_once(replica, message=message, layout=layout, progress=progress)
        except Diverged:
            if attempt == retry:
                raise
        fraction = int.from_bytes(replica.runtime.entropy(2), "big") / 65536
        replica.runtime.sleep_s(fraction * min(_WAIT_S_MAX, _WAIT_S * 2**attempt))
        pull(replica, policy="merge", conflicts=conflicts)
    raise BadRequest(f"a push cannot be tried again {retry} times")
