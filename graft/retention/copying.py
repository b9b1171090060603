"""Copying volumes: the newest version as a volume of its own, or all versions as they are, to any remote.

newest version   segments copied as they are → pages inside commits written anew → one commit → name
whole history    segments and commits copied as they are, the oldest first → record of what remains → tags → name

A copy that was interrupted is continued by the same call: what arrived is not sent again.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graft.building.commit_builder import Draft, Onto, committed
from graft.building.segment_builder import Pages, write_segments
from graft.cache.cache import Cache
from graft.errors import BadRequest, Corrupt, GraftError, RemoteRefused, VolumeExists, remote_errors
from graft.failpoints import failpoint
from graft.journal.local_commit import LocalCommit
from graft.operations.verify import verify as verify_volume
from graft.pagemap.frame_table import FrameTable
from graft.pagemap.locations import frames_of, is_in_frame
from graft.reading.body_loader import BodyLoader
from graft.reading.snapshot import Snapshot
from graft.remote.address import RemoteAddress, is_same_store, parse_remote
from graft.remote.remote import Remote, opened_remote, require_safe
from graft.replica.replica import Replica
from graft.retention.collect import Progress, retention
from graft.retention.copy_objects import copy_commit, copy_segments
from graft.retention.marking import Marks
from graft.retention.pinning import Pin, pin
from graft.retention.reach import mark
from graft.retention.survey import Survey, survey
from graft.retention.versions import RetainedVersions
from graft.settings import Settings
from graft.sync.clone import clone
from metastore.append import Lost, append
from metastore.build import Origin
from metastore.collected import Remaining, write_record
from metastore.commit import CommitKind
from metastore.errors import NoSuchVolume as NoVolume
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.placement import CHUNK_PAGES, InCommit, OwnObject
from metastore.tags import create_tag, tags_of
from metastore.volumes import VolumeRecord, check_name, create_volume, delete_volume, read_volume
from pagestore.ids import SegmentId
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime

_PIN_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a copy did."""

    source: str
    target: str
    lsn: int
    """The newest LSN of the copy."""
    versions: int
    segments: int
    """Segment objects that the copy needs."""
    sent_bytes: int
    """What was sent; what was there already does not count."""
    verified_pages: int | None
    """How many pages were read back and checked; None if that was not asked for."""


def copy_volume(
    source: str | os.PathLike[str] | RemoteAddress,
    target: str | os.PathLike[str] | RemoteAddress,
    *,
    history: bool = False,
    verify: bool = True,
    source_store: ObjectStore | None = None,
    target_store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
    progress: Progress | None = None,
) -> CopyResult:
    """Copy a volume to another remote, or to another name in the same one; the target may leave the name out.

    Without ``history`` the newest version becomes a volume of its own. With it, all versions that remain, their tags
    and the volume's identity are copied, to another remote; done again, it sends what is new. Unless told otherwise,
    the copy is read back and checked at the end. Progress counts segments, and then the frames that are read back.

    Raises `VolumeExists` if the name is taken, `BadRequest`, `NoSuchVolume`, `Corrupt` and the remotes' errors.
    """
    here, there = parse_remote(source), parse_remote(target)
    if here.volume is None:
        raise BadRequest(f"{here} names no volume; expected something like {here.store_url}#name")
    there = RemoteAddress(there.store_url, there.volume or here.volume)
    is_same = is_same_store(here.store_url, there.store_url)
    if is_same and (history or here.volume == there.volume):
        raise BadRequest(
            f"{there} is in the remote of {here}: a whole history can only be copied to another one; graft fork "
            "makes a branch with this history, graft mv gives another name"
        )
    with contextlib.ExitStack() as opened:
        ours = opened.enter_context(
            opened_remote(here.store_url, store=source_store, settings=settings, runtime=runtime)
        )
        theirs = (
            ours
            if is_same
            else opened.enter_context(
                opened_remote(there.store_url, store=target_store, settings=settings, runtime=runtime)
            )
        )
        require_safe(theirs)
        copying = _Copying(ours, theirs, here, there, opened.enter_context(_workplace()), progress)
        result = copying.history() if history else copying.newest()
        return copying.checked(result) if verify else result


@contextlib.contextmanager
def _workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="graft-cp-") as directory:
        yield Path(directory)


class _Target:
    """What building a commit needs (`graft.reading.page_access.PageAccess`): pages of a replica, another remote."""

    def __init__(self, replica: Replica, remote: Remote) -> None:
        self.page_size: int = replica.page_size
        self.settings: Settings = replica.settings
        self.runtime: Runtime = replica.runtime
        self.table: FrameTable = replica.table
        self.cache: Cache = replica.cache
        self.bodies: BodyLoader = replica.bodies
        self.remote = remote
        self._replica = replica

    def require_whole(self, commits: Iterable[LocalCommit]) -> None:
        self._replica.require_whole(commits)

    def load_chunks(self, wanted: Iterable[tuple[CommitIndex, int]]) -> None:
        self._replica.load_chunks(wanted)


class _Copying:
    """One copy; used once."""

    def __init__(
        self,
        source: Remote,
        target: Remote,
        here: RemoteAddress,
        there: RemoteAddress,
        workplace: Path,
        progress: Progress | None,
    ) -> None:
        self._source, self._target = source, target
        self._here, self._there = here, there
        self._workplace = workplace
        self._progress = progress
        self._done = self._total = 0
        assert there.volume, "BUG: the caller gives the copy a name"
        self._name = check_name(there.volume)

    def newest(self) -> CopyResult:
        """Make the newest version a volume of its own."""
        self._require_free(None)
        replica = clone(
            self._workplace / "source", self._here, store=self._source.store, settings=self._source.settings,
            runtime=self._source.runtime,
        )  # fmt: skip
        with contextlib.closing(replica), _pinned(replica):
            view = replica.view()
            chain, snapshot = view.state.chain, replica.snapshot()
            replica.load_chunks((index, entry.number) for index in chain for entry in index.commit.directory)
            segments, inline = _places(replica, snapshot)
            sent = self._send(segments)
            failpoint("cp: before commit")
            log, lsn, written = LogId.new(replica.runtime), view.state.lsn, 0
            if chain:
                with remote_errors(f"copying volume {self._here.volume}"):
                    lsn, written = self._commit(replica, log, chain, snapshot, inline)
            record = VolumeRecord(
                volume=VolumeId.new(replica.runtime), log=log, page_size=replica.page_size,
                created_us=int(replica.runtime.now_s() * 1_000_000),
            )  # fmt: skip
        failpoint("cp: before name")
        with remote_errors(f"naming the copy {self._there}"):
            create_volume(self._target.store, self._name, record)
        return self._result(lsn, 1 if chain else 0, len(segments), sent + written)

    def _commit(
        self, replica: Replica, log: LogId, chain: Iterable[CommitIndex], snapshot: Snapshot, inline: Pages
    ) -> tuple[LSN, int]:
        """Write the pages that lie in commits, and the one commit of the copy; return its LSN and the bytes written."""
        access = _Target(replica, self._target)
        snapshot.prefetch(inline.tolist())
        written = write_segments(self._target, replica.settings, snapshot, inline)
        draft = Draft(written, snapshot, snapshot.page_count, len(inline))
        onto = Onto(log, list(chain), replica.view().remote_map)
        outgoing = committed(access, onto, draft, Origin(CommitKind.FORK))
        new = outgoing.commit
        write_record(self._target.store, log, Remaining(new.lsn))
        outcome = append(self._target.commits, log, new.lsn, new.data, new.nonce)
        assert not isinstance(outcome, Lost), "BUG: a log that nobody knows was written to"
        return new.lsn, len(new.data) + outgoing.segment_bytes

    def history(self) -> CopyResult:
        """Copy all versions that remain, as they are."""
        source, target = self._source, self._target
        with remote_errors(f"copying volume {self._here.volume}"):
            found = survey(
                source, retention(source.settings, None, None, None), source.runtime.now_s(), only=frozenset()
            )
            record = found.volumes.get(self._here.volume or "")
            if record is None:
                raise BadRequest(f"no volume named {self._here.volume} in {source.store.url}")
            self._require_free(record)
            retained = _lineage_of(found, record)
            marks = mark(source.commits, source.parallel, retained, found.names)
            for log, versions in retained.items():
                if not versions.remaining.is_whole:
                    write_record(target.store, log, versions.remaining)
            segments = sorted(marks.segments)
        sent = self._send(segments)
        failpoint("cp: before commit")
        with remote_errors(f"copying volume {self._here.volume}"):
            sent += self._send_commits(marks)
            for name, tag in tags_of(source.store, source.parallel, record.volume).items():
                create_tag(target.store, name, tag)
            failpoint("cp: before name")
            create_volume(target.store, self._name, record)
        head = retained[record.log].head if record.log in retained else record.lineage.start
        count = sum(len(versions.reasons) for versions in retained.values())
        return self._result(head, count, len(segments), sent)

    def _send_commits(self, marks: Marks) -> int:
        """Copy commits, the oldest first, so that each version that shows is whole."""
        sent = 0
        for log, lsn in sorted(marks.objects, key=lambda each: (each[1], each[0])):
            sent += copy_commit(self._source, self._target, log, lsn)
        return sent

    def _send(self, segments: list[SegmentId]) -> int:
        if self._target is self._source:
            return 0  # they are there
        self._total = len(segments)
        with remote_errors(f"copying volume {self._here.volume} to {self._there.store_url}"):
            return copy_segments(self._source, self._target, segments, self._told)

    def _told(self, _size: int) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)

    def _require_free(self, record: VolumeRecord | None) -> None:
        """Raise `VolumeExists` if the name stands for another volume in the target."""
        with remote_errors(f"looking up {self._there}"):
            try:
                there = read_volume(self._target.store, self._name)
            except NoVolume:
                return
        if there != record:
            raise VolumeExists(f"a volume named {self._name} exists already in {self._target.store.url}")

    def checked(self, result: CopyResult) -> CopyResult:
        """Read the copy's newest version back; what fails is told, and a copy of one version loses its name again."""
        replica = clone(
            self._workplace / "copy", self._there, store=self._target.store, settings=self._target.settings,
            runtime=self._target.runtime,
        )  # fmt: skip
        with contextlib.closing(replica):
            report = verify_volume(replica, progress=self._progress)
        if report.problems:
            with contextlib.suppress(GraftError), remote_errors("taking back the name"):
                delete_volume(self._target.store, self._name)
            raise Corrupt(
                f"the copy {self._there} is damaged, and its name was taken back: {'; '.join(report.problems[:3])}"
            )
        return CopyResult(
            result.source, result.target, result.lsn, result.versions, result.segments, result.sent_bytes, report.pages
        )

    def _result(self, lsn: int, versions: int, segments: int, sent: int) -> CopyResult:
        return CopyResult(str(self._here), str(self._there), lsn, versions, segments, sent, None)


def _lineage_of(found: Survey, record: VolumeRecord) -> dict[LogId, RetainedVersions]:
    """Return the versions of a volume that remain, those before it branched off included."""
    retained = {record.log: found.retained[record.log]} if record.log in found.retained else {}
    for parent in record.earlier:
        theirs = found.retained.get(parent.log)
        reasons = {lsn: why for lsn, why in theirs.reasons.items() if lsn <= parent.lsn} if theirs else {}
        if theirs is not None and reasons:
            head = max(reasons)
            retained[parent.log] = RetainedVersions(min(theirs.floor, head), head, reasons)
    return retained


def _places(replica: Replica, snapshot: Snapshot) -> tuple[list[SegmentId], Pages]:
    """Return the segment objects that a version reads, and the pages, ascending, that lie in commits."""
    segments: set[SegmentId] = set()
    pages = [np.empty(0, np.int64)]
    for number, chunk in enumerate(snapshot.page_map.chunks):
        locations = chunk.locations()
        live = is_in_frame(locations)
        frames = frames_of(locations)
        refs = {int(frame): replica.table.key(int(frame)).ref for frame in np.unique(frames[live])}
        segments.update(ref.segment for ref in refs.values() if isinstance(ref.home, OwnObject))
        inline = np.array(sorted(frame for frame, ref in refs.items() if isinstance(ref.home, InCommit)), np.uint64)
        pages.append(np.flatnonzero(live & np.isin(frames, inline)).astype(np.int64) + (number * CHUNK_PAGES + 1))
    return sorted(segments), np.concatenate(pages)


@contextlib.contextmanager
def _pinned(replica: Replica) -> Iterator[None]:
    """Keep the version that is being copied, where that is allowed: some may only read the source."""
    held: Pin | None = None
    if replica.view().state.lsn > BEFORE_FIRST:
        with contextlib.suppress(RemoteRefused):
            held = pin(replica, ttl_s=_PIN_S)
    try:
        yield
    finally:
        if held is not None:
            held.release()
