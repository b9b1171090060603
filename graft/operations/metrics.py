"""Metrics of a replica, as plain values; `graft.operations.prometheus` renders them.

Gauges describe the replica now; counters count what this process did since it opened the replica. No requests are made.
"""

from dataclasses import dataclass
from typing import Literal

from graft.replica.freshness import freshness
from graft.replica.replica import Replica
from pagestore.objectstore import ObjectStore
from pagestore.stores.hedged import HedgedStore
from pagestore.stores.metered import MeteredStore

Kind = Literal["gauge", "counter"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number with a name."""

    name: str
    """Without the prefix ``graft_``; units are in the name, as is usual in Prometheus."""
    kind: Kind
    help: str
    value: float


def metrics(replica: Replica) -> list[Metric]:
    """Return all metrics of a replica; safe from any thread."""
    return [*_gauges(replica), *_counters(replica), *_requests(replica)]


def _gauges(replica: Replica) -> list[Metric]:
    fresh, view = freshness(replica), replica.view()
    staleness_s = float("inf") if fresh.staleness_s is None else fresh.staleness_s
    return [
        Metric("lsn", "gauge", "The remote commit that the replica builds on.", fresh.lsn),
        Metric("remote_lsn", "gauge", "The newest remote commit that was ever seen.", fresh.head),
        Metric("lsns_behind", "gauge", "Remote commits that are known and not here.", fresh.lsns_behind),
        Metric(
            "staleness_seconds", "gauge",
            "Since the replica was last known to have all that the remote had; +Inf if it never was.", staleness_s,
        ),
        Metric("local_commits", "gauge", "Local commits that the remote lacks.", len(view.pending)),
        Metric("cache_bytes", "gauge", "Size of the cache.", replica.cache.use().bytes),
        Metric("journal_bytes", "gauge", "Size of the journal.", replica.journal.disk_bytes()),
    ]  # fmt: skip


def _counters(replica: Replica) -> list[Metric]:
    counts = replica.counts.snapshot()
    rows = [
        ("looks", "Polls of the remote.", counts.looks),
        ("looks_shared", "Polls that another process made for this one.", counts.looks_shared),
        ("looks_failed", "Polls that were not answered, or could not move the replica.", counts.looks_failed),
        ("look_requests", "Requests of polls.", counts.look_requests),
        ("moves", "Polls that found something new.", counts.moves),
        ("fetches", "Times that a reader waited for frames from the remote.", counts.fetches),
        ("ahead_late", "Times that a reader waited for frames that were being fetched ahead.", counts.ahead_late),
        ("fetched_bytes", "Stored bytes of frames that were fetched.", counts.fetched_bytes),
        ("ahead_bytes", "Of those, bytes fetched before a reader requested them.", counts.ahead_bytes),
        ("ahead_used_bytes", "Of those, bytes that a reader requested later.", counts.ahead_used_bytes),
        ("gap_bytes", "Bytes fetched because they lay between two frames.", counts.gap_bytes),
    ]
    return [Metric(name, "counter", words, value) for name, words, value in rows]


def _requests(replica: Replica) -> list[Metric]:
    store: ObjectStore = replica.remote.store
    found: list[Metric] = []
    while True:
        if isinstance(store, MeteredStore):
            traffic = store.snapshot()
            rows = [
                ("requests", "Requests to the store, without hedges and retries.", traffic.requests),
                ("received_bytes", "Bodies received from the store.", traffic.bytes_down),
                ("sent_bytes", "Bodies sent to the store.", traffic.bytes_up),
            ]
        elif isinstance(store, HedgedStore):
            counts = store.counts()
            rows = [
                ("hedged_reads", "Late reads that were sent a second time.", counts.hedges),
                ("hedged_wins", "Second requests that were answered first.", counts.wins),
            ]
        else:
            return found
        found += [Metric(name, "counter", words, value) for name, words, value in rows]
        store = store.inner
