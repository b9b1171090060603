"""One round of synchronization: submit pending mutations, fetch new versions, rebase.

With a coordinator, pages are only pulled. Without one, each client applies its own mutations with their positions and
pushes; the client that loses the append rebases and tries again.
"""

import contextlib

from graft.errors import Diverged, GraftError
from graft.sync.pull import fetch
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from sqlsync import tables
from sqlsync.documents.rebase import rebase, settle
from sqlsync.documents.session import Client
from sqlsync.errors import CoordinatorBusy, CoordinatorUnavailable, TimelineExpired, TimelineForked, TimelineGap
from sqlsync.failpoints import failpoint
from sqlsync.ids import TimelineId
from sqlsync.links.link import Acknowledged, CoordinatorLink

SUBMIT_MUTATIONS_MAX = 500
_PUSHES_MAX = 100
_STEPS_MAX = 10
_BUSY_S = 1.0


def sync(client: Client, *, wait_s: float = 0.0) -> None:
    """Do one round; with ``wait_s``, wait that long for the coordinator to apply pending mutations.

    Raises `CoordinatorUnavailable`, `CoordinatorRefused`, `TimelineExpired`, `ReducerTooOld` and the errors of graft;
    pending mutations are retained in all cases.
    """
    try:
        with client.syncing:
            if client.link is None:
                _sync_directly(client)
            else:
                _sync_through(client, client.link, wait_s)
    finally:
        client.tell()


def _sync_through(client: Client, link: CoordinatorLink, wait_s: float) -> None:
    try:
        answer = _submit_while_busy(client, link, wait_s)
    except TimelineForked:
        # Confirm the common prefix, so that a new timeline does not repeat it.
        with contextlib.suppress(GraftError, CoordinatorUnavailable):
            with client.lock:
                timeline, last = client.timeline.id, client.timeline.next_lsn - 1
            if wait_s > 0:
                link.wait(timeline, last, timeout_s=wait_s)
            _pull(client)
        raise
    client.tell()
    with client.lock:
        last = client.timeline.next_lsn - 1
        waiting = last >= client.timeline.start
    if waiting and wait_s > 0 and (answer.applied is None or answer.applied < last):
        answer = link.wait(client.timeline.id, last, timeout_s=wait_s)
    _pull(client, at_least=answer.volume_lsn)
    _require_unforked(client)


def _forked(timeline: TimelineId, end: int, next_lsn: int) -> TimelineForked:
    return TimelineForked(
        f"timeline {timeline} ends before LSN {end} here, and the coordinator has mutations up to LSN {next_lsn}: it "
        "went on from another copy of this directory; begin a new timeline"
    )


def _require_unforked(client: Client) -> None:
    if client.is_forked:
        raise TimelineForked(
            f"the volume has other mutations of timeline {client.timeline.id} than this directory: another copy of it "
            "went on, or it was restored from a backup; pending mutations are retained: begin a new timeline"
        )


def _submit_while_busy(client: Client, link: CoordinatorLink, wait_s: float) -> Acknowledged:
    """Submit pending mutations, in parts if the coordinator limits them; for at most ``wait_s``."""
    deadline_s = client.runtime.monotonic_s() + wait_s
    while True:
        before = client.acknowledged
        try:
            return _submit_all(client, link)
        except CoordinatorBusy as busy:
            client.tell()
            _pull(client)  # stores rejections; reporting that frees space
            left_s = deadline_s - client.runtime.monotonic_s()
            if left_s <= 0:
                raise
            if client.acknowledged > before:
                link.wait(client.timeline.id, client.acknowledged - 1, timeout_s=left_s)
                _pull(client)
            else:
                client.runtime.sleep_s(min(left_s, busy.retry_after_s or _BUSY_S))


def _submit_all(client: Client, link: CoordinatorLink) -> Acknowledged:
    steps = 0
    while True:
        with client.lock:
            timeline, start, end = client.timeline.id, client.timeline.start, client.timeline.next_lsn
            client.acknowledged = max(client.acknowledged, start)
            batch = client.timeline.pending(client.acknowledged, SUBMIT_MUTATIONS_MAX)
            seen, born_us = client.timeline.rejections_seen, client.timeline.born_us
            asked, proof = client.acknowledged, client.timeline.proof(client.acknowledged)
        try:
            answer = link.submit(timeline, batch, rejections_seen=seen, born_us=born_us, proof=proof)
        except TimelineGap as gap:
            if gap.expected < start:
                raise TimelineExpired(
                    f"the coordinator asks for mutation {gap.expected} of timeline {timeline}, which was applied long "
                    "ago: it has forgotten the timeline; begin a new one"
                ) from gap
            if gap.expected > end:
                raise _forked(timeline, end, gap.expected) from gap
            if gap.expected == asked or steps == _STEPS_MAX:
                raise
            client.acknowledged = gap.expected
            steps += 1
            continue
        if answer.next_lsn > end:
            raise _forked(timeline, end, answer.next_lsn)
        if batch and answer.next_lsn <= batch[0].lsn:
            raise CoordinatorUnavailable(f"the coordinator took nothing from LSN {batch[0].lsn} of timeline {timeline}")
        with client.lock:
            client.acknowledged = max(answer.next_lsn, start)  # less than before if it lost some: resend them
            client.to_tell += client.receipts.acknowledged(answer.next_lsn)
            if client.acknowledged >= end:
                return answer


def _sync_directly(client: Client) -> None:
    for _ in range(_PUSHES_MAX):
        _pull(client)
        with client.lock:
            if client.is_expired:
                raise TimelineExpired(
                    f"the volume does not know timeline {client.timeline.id} any more: it was not used for so long "
                    "that it was forgotten; begin a new one"
                )
            _require_unforked(client)
            _forget_told(client)
            through = client.timeline.next_lsn - 1
            rejected = client.view.settled(client.timeline).rejected
        try:
            push(client.view.volume.replica, layout=btree_layout)
        except Diverged:
            continue
        failpoint("direct: after push")
        with client.lock:
            settle(client, through, rejected)
        return
    raise Diverged(f"others pushed {_PUSHES_MAX} times while this client tried to; nothing is lost, sync again")


def _forget_told(client: Client) -> None:
    """Remove the rejections that the timeline's file stores from the volume."""
    rejected = client.view.settled(client.timeline).rejected
    seen = client.timeline.rejections_seen
    if any(lsn <= seen for lsn, _ in rejected):
        with client.view.volume.transaction() as connection:
            tables.forget_rejections(connection, client.timeline.id, seen)
        client.note_change()


def _pull(client: Client, at_least: int = 0) -> None:
    """Move to the newest version, and rebase the view."""
    replica = client.view.volume.replica
    moving = at_least > client.view.volume.lsn or fetch(replica).head > client.view.volume.lsn
    held = False

    def hold() -> None:
        nonlocal held
        client.lock.acquire()
        held = True

    try:
        if moving:
            client.view.pull(hold)
        with client.lock:
            rebase(client)
    finally:
        if held:
            client.lock.release()
