"""Rebase: rebuild the view on a newer version of the volume, and learn which of our mutations were applied or rejected.

read our position --> drop the timeline's prefix, store its rejections (one transaction) --> replay the rest (one)
"""

from functools import partial

from sqlsync.documents.session import Client
from sqlsync.documents.timeline import Refusal
from sqlsync.documents.view import errors_of
from sqlsync.failpoints import failpoint


def rebase(client: Client) -> None:
    """Rebase a stale view; the caller holds the client's lock, and calls `Client.tell` after releasing it.

    A mutation that fails in the replay stays pending, and its receipt says so. If this raises (the volume cannot
    be reached, the reducer is too old), the view stays stale and readers stay at their version.
    """
    if not client.view.stale:
        return
    client.view.clean()
    found, timeline = client.view.settled(client.timeline), client.timeline
    agreed = timeline.agreement(found.applied, found.standing)
    client.is_forked = agreed < found.applied
    client.is_expired = client.link is None and found.applied < 0 and _may_be_forgotten(client)
    settle(client, agreed, [(lsn, reason) for lsn, reason in found.rejected if lsn <= agreed])
    failpoint("rebase: after confirm")
    pending = client.timeline.pending()
    stamps = [timeline.stamp(mutation.lsn) for mutation in pending] if client.link is None else []
    outcomes = client.view.replay(pending, stamps)
    failpoint("rebase: after replay")
    for mutation, error in zip(pending, errors_of(outcomes), strict=True):
        client.receipts.replayed(mutation.lsn, error)
    client.note_change()


def settle(client: Client, applied: int, rejected: list[tuple[int, str]]) -> None:
    """Record that the volume has our mutations up to ``applied``; the caller holds the client's lock."""
    keep = client.on_rejected != "drop"
    fresh = client.timeline.confirm(applied, rejected, keep=keep)
    reasons = {refusal.mutation.lsn: refusal.reason for refusal in fresh}
    client.acknowledged = max(client.acknowledged, client.timeline.start)
    client.to_tell += client.receipts.settled(client.timeline.start, reasons)
    client.to_tell += [partial(deliver, client, refusal) for refusal in fresh]


def _may_be_forgotten(client: Client) -> bool:
    timeline = client.timeline
    return timeline.start > 0 or (timeline.next_lsn > 0 and client.view.may_have_forgotten(timeline.born_us))


def deliver(client: Client, refusal: Refusal) -> None:
    """Report a rejection to the application's callback, if there is one; if it raises, report again later."""
    if callable(client.on_rejected):
        client.on_rejected(refusal)
        client.timeline.forget(refusal.mutation)
