"""Applies entries to a coordinator's volume, pushes them, and pulls what others pushed.

    entries --> one local commit --> push, a conditional append --> known
                     ^                   | another writer was faster
                     `---- pull <--------'

Invariants: `known` describes the shared volume, never unpushed commits. A local commit holds the effects of entries
together with the positions of their timelines. Not thread-safe: the caller holds a lock.
"""

import logging
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import apsw

from graft.errors import Diverged
from graft.sync.pull import fetch
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from pagestore.runtime import Runtime
from sqlsync import tables
from sqlsync.coordination.inbox import Entry
from sqlsync.coordination.limits import Limits, surplus
from sqlsync.coordination.readers import Readers
from sqlsync.envelope import Mutation, Named
from sqlsync.failpoints import failpoint
from sqlsync.identity import Owner, Standing
from sqlsync.ids import TimelineId
from sqlsync.reducers.apply import Rejected, apply_batch
from sqlsync.reducers.migrate import MIGRATE, check_version, migrate
from sqlsync.reducers.reducer import Reducer
from sqlsync.volume import DocumentVolume, volume_errors

_EXPIRY_ROUNDS = 100
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """The state of the shared volume."""

    positions: Mapping[TimelineId, int] = field(default_factory=dict)
    standings: Mapping[TimelineId, Standing] = field(default_factory=dict)
    lsn: int = 0
    """The remote LSN of this state."""
    forgotten_us: int | None = None
    version: int = 0


class Applier:
    """Applies entries to a volume and pushes them."""

    def __init__(
        self,
        volume: DocumentVolume,
        reducer: Reducer,
        own: TimelineId,
        own_secret: bytes | None,
        *,
        expiry_s: float,
        limits: Limits | None,
        runtime: Runtime,
    ) -> None:
        """Start from the remote version in the replica. Local commits are discarded: the inbox holds all of them."""
        self.volume = volume
        self.known = Known()
        self.own_rejections: dict[int, str] = {}
        """Rejections of the timeline ``own`` that were not read yet, by LSN."""
        self.rejected: Mapping[TimelineId, Sequence[int]] = {}
        """The known rejections in the volume: sorted LSNs by timeline."""
        self.readers = Readers()
        """Which rejections authors have read; the coordinator updates it."""
        self._limits = limits
        self._reducer = reducer
        self._own = own
        self._own_secret = own_secret
        self._expiry_s = expiry_s
        self._runtime = runtime
        self._expire_after_s = runtime.now_s() + expiry_s / _EXPIRY_ROUNDS
        self._has_expired = False
        volume.discard()
        self._learn()
        check_version(self.known.version, reducer)

    @property
    def is_behind(self) -> bool:
        """Whether migrations of the reducer have not run yet."""
        return self.known.version < self._reducer.version

    def settle(self) -> None:
        """Finish an interrupted push, and read the volume's state if that was interrupted."""
        if self.volume.unpushed:
            try:
                push(self.volume.replica, layout=btree_layout)
            except Diverged:
                self.pull()
        if self.known.lsn != self.volume.lsn:
            self._learn()

    def catch_up(self) -> None:
        """Settle, then pull what others pushed."""
        self.settle()
        if fetch(self.volume.replica).head > self.volume.lsn:
            self.pull()

    def pull(self) -> None:
        """Move to the newest version and discard local commits."""
        self.volume.pull()
        failpoint("coordinator: after pull")
        self._learn()

    def apply(
        self,
        entries: Sequence[Entry],
        seen: Mapping[TimelineId, int],
        waiting: Collection[TimelineId],
        refused: Callable[[Sequence[Mutation]], Mapping[int, Rejected]],
    ) -> None:
        """Apply the entries that are next in their timelines, in one local commit.

        ``seen`` holds the last rejection that each author has read. Timelines in ``waiting`` do not expire now.
        ``refused`` returns the mutations of a batch to reject without running them, by index. Raises `ReducerTooOld`,
        `MigrationFailed` and the errors of graft; the volume is unchanged then.
        """
        now_us = int(self._runtime.now_s() * 1_000_000)
        with self.volume.transaction() as connection:
            following = self._following(entries)
            batch = [entry.mutation for entry in following]
            if batch:
                stamps = [entry.stamp for entry in following]
                apply_batch(
                    self.volume.sandbox, self._reducer, batch, used_us=now_us, stamps=stamps, refused=refused(batch)
                )
            elif self.is_behind:
                migrate(self.volume.sandbox, self._reducer, self._cause())
                tables.make(connection)
            if batch:
                told = {**seen, self._own: self.known.positions.get(self._own, -1)}
                self._forget_rejections(connection, told)
                self._expire(now_us, waiting)

    def push(self, entries: Sequence[Entry]) -> None:
        """Push the local commit and update `known`; raises `Diverged` if another writer was faster."""
        push(self.volume.replica, layout=btree_layout)
        failpoint("coordinator: after push")
        if self._has_expired or self.is_behind:
            self._learn()
        else:
            self._learn_of({entry.mutation.timeline for entry in entries})

    def _following(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries that are next in their timelines, by the positions in the volume.

        Entries of another owner or another history are skipped: another coordinator accepted what the volume has, and
        their author finds out when it compares links.
        """
        batch, reached = [], dict[TimelineId, int]()
        ends: dict[TimelineId, tuple[Owner | None, bytes | None]] = {}
        connection = self.volume.connection
        for entry in entries:
            timeline, lsn, stamp = entry.mutation.timeline, entry.mutation.lsn, entry.stamp
            if timeline not in reached:
                applied, standing = tables.applied(connection, timeline), tables.standing(connection, timeline)
                reached[timeline] = -1 if applied is None else applied
                ends[timeline] = (None, None) if standing is None else (standing.owner, standing.link_at(standing.lsn))
            if lsn != reached[timeline] + 1:
                continue
            owner, link = ends[timeline]
            if (owner is not None and not owner.admits(stamp.owner)) or (
                None not in {link, stamp.before} and link != stamp.before
            ):
                _log.warning("mutation %d of timeline %s does not follow the history in the volume", lsn, timeline)
                continue
            batch.append(entry)
            reached[timeline], ends[timeline] = lsn, (stamp.owner, stamp.link)
        return batch

    def _forget_rejections(self, connection: apsw.Connection, told: Mapping[TimelineId, int]) -> None:
        """Remove the rejections that their authors have read, and those that exceed the limits."""
        found = tables.rejected(connection)
        gone = {
            timeline: told[timeline] for timeline in found.keys() & told.keys() if found[timeline][0] <= told[timeline]
        }
        if self._limits is not None:
            left = {each: lsns[bisect_right(lsns, gone.get(each, -1)) :] for each, lsns in found.items()}
            gone |= surplus(left, self.readers.blind, self._limits)
        for timeline, lsn in gone.items():
            tables.forget_rejections(connection, timeline, lsn)
            found[timeline] = [each for each in found[timeline] if each > lsn]
        self.rejected = {timeline: lsns for timeline, lsns in found.items() if lsns}

    def _cause(self) -> Mutation:
        """The mutation that migrations run as if the batch is empty."""
        return Mutation.captured(self._own, 0, Named(MIGRATE, {}), runtime=self._runtime)

    def _expire(self, now_us: int, waiting: Collection[TimelineId]) -> None:
        now_s = now_us / 1_000_000
        if now_s < self._expire_after_s:
            return
        self._expire_after_s = now_s + self._expiry_s / _EXPIRY_ROUNDS
        before_us = now_us - int(self._expiry_s * 1_000_000)
        if tables.forget_timelines(self.volume.connection, before_us, keep={self._own, *waiting}):
            self._has_expired = True

    def _learn(self) -> None:
        """Read the whole state of the volume; the replica has no unpushed commits."""
        connection = self.volume.connection
        with volume_errors():
            self.known = Known(
                tables.positions(connection),
                tables.standings(connection),
                self.volume.lsn,
                tables.forgotten_us(connection),
                tables.version(connection),
            )
            self.rejected = tables.rejected(connection)
            self._learn_own_rejections()
        self._has_expired = False

    def _learn_of(self, timelines: Collection[TimelineId]) -> None:
        """Read the positions that may have changed. A timeline without a position was forgotten."""
        positions, standings = dict(self.known.positions), dict(self.known.standings)
        with volume_errors():
            for timeline in timelines:
                applied = tables.applied(self.volume.connection, timeline)
                if applied is not None:
                    positions[timeline] = applied
                if (standing := tables.standing(self.volume.connection, timeline)) is not None:
                    standings[timeline] = standing
            if self._own in timelines:
                self._learn_own_rejections()
        self.known = Known(positions, standings, self.volume.lsn, self.known.forgotten_us, self.known.version)

    def _learn_own_rejections(self) -> None:
        for row in tables.rejections(self.volume.connection, self._own, self._own_secret):
            self.own_rejections[row.lsn] = row.reason
