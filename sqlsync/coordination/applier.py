"""The volume of a coordinator: what is applied there, what comes from others, and what is known of it.

    entries --> one local commit --> push, a conditional append --> known
                     ^                   | somebody else was faster
                     `---- pull <--------'

Invariants: `known` says what is in the shared volume, never what is on its way there. A local commit holds the effects
of entries together with the positions of their timelines. One thread at a time.
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
    """What the shared volume says."""

    positions: Mapping[TimelineId, int] = field(default_factory=dict)
    standings: Mapping[TimelineId, Standing] = field(default_factory=dict)
    lsn: int = 0
    """The remote LSN at which it says so."""
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
        """Begin with what the replica has of the remote; local commits are given up: the inbox has it all."""
        self.volume = volume
        self.known = Known()
        self.own_rejections: dict[int, str] = {}
        """Rejections of the timeline ``own`` since it was read last."""
        self.rejected: Mapping[TimelineId, Sequence[int]] = {}
        """Rejections that are in the volume, as far as is known here: LSNs by timeline, in order."""
        self.readers = Readers()
        """What authors say they have read; the coordinator notes it."""
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
        """Whether migrations of the reducer are still to run."""
        return self.known.version < self._reducer.version

    def settle(self) -> None:
        """Bring a push to its end that was cut short, and learn what the volume says if that was cut short."""
        if self.volume.unpushed:
            try:
                push(self.volume.replica, layout=btree_layout)
            except Diverged:
                self.pull()
        if self.known.lsn != self.volume.lsn:
            self._learn()

    def catch_up(self) -> None:
        """Settle, then learn what others pushed."""
        self.settle()
        if fetch(self.volume.replica).head > self.volume.lsn:
            self.pull()

    def pull(self) -> None:
        """Go to the newest version, without the local commits."""
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
        """Apply those entries that follow what the volume has, in a local commit.

        ``seen`` says which rejections their authors know of; timelines in ``waiting`` are not forgotten now;
        ``refused`` says which mutations of a batch are rejected without being run, by their places. Raises
        `ReducerTooOld`, `MigrationFailed` and the errors of graft; then nothing was done.
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
        """Hand the local commit over, and take note of it; raises `Diverged` if somebody else was faster."""
        push(self.volume.replica, layout=btree_layout)
        failpoint("coordinator: after push")
        if self._has_expired or self.is_behind:
            self._learn()
        else:
            self._learn_of({entry.mutation.timeline for entry in entries})

    def _following(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries that are next in their timelines; the volume itself says what that is.

        Those that belong to somebody else than the timeline, or to another history, are left out: another coordinator
        took what the volume has, and the author of these learns of it when it compares.
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
                _log.warning("mutation %d of timeline %s does not follow what the volume has of it", lsn, timeline)
                continue
            batch.append(entry)
            reached[timeline], ends[timeline] = lsn, (stamp.owner, stamp.link)
        return batch

    def _forget_rejections(self, connection: apsw.Connection, told: Mapping[TimelineId, int]) -> None:
        """Remove the rejections that their authors know of, and those that are too many."""
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
        """What migrations run as, when no mutation is there to bring them along."""
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
        """Read all that the volume says; nothing of the replica is unpushed."""
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
        """Read the positions that may have changed; entries that follow no position belong to a forgotten timeline."""
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
