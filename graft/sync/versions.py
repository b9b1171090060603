"""Which version of a volume is meant: by an LSN, a moment, a tag, or the name of a branch.

12                     the commit with this LSN
2026-01-02T10:00       the newest commit at or before this moment (ISO 8601, UTC unless it names an offset)
v1                     what the tag v1 of this volume stands for, or of an ancestor
experiment             where this volume has no such tag: the newest version of the volume experiment
head                   the newest version in the remote
experiment@VERSION     the same of another volume in the remote: experiment@v1, experiment@12, experiment@head
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TypeAlias

from graft.errors import BadRequest, HistoryLost, NoSuchVersion, VersionCollected, remote_errors
from graft.remote.near_names import no_such_volume
from graft.remote.remote import Remote
from graft.replica.replica import Replica
from graft.sync.collected import version_collected
from metastore.errors import MetaStoreError, NoSuchTag
from metastore.errors import NoSuchVolume as NoVolume
from metastore.history import lsn_at
from metastore.ids import LogId, VolumeId
from metastore.index import CommitIndex
from metastore.lineage import Lineage
from metastore.lsn import BEFORE_FIRST, LSN
from metastore.tags import HEAD, TagRecord, check_tag, list_tags, read_tag
from metastore.volumes import VolumeRecord, check_name, list_volumes, read_volume
from pagestore.errors import PageStoreError

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a volume in the remote."""

    lineage: Lineage
    """Of a volume that has it."""
    lsn: LSN
    """0 for the empty version before the first commit."""
    hash: str | None = None
    """Of its commit, in hexadecimal, where a tag says it."""

    @property
    def log(self) -> LogId:
        """The log that holds its commit."""
        return self.lineage.log_of(self.lsn)


At: TypeAlias = int | str | datetime
"""An LSN, a moment as ISO 8601 text (UTC unless it names an offset) or as `datetime`, a tag, or a branch's name."""

AnyVersion: TypeAlias = At | Version
"""The same, or a version that was looked up already."""


def resolve(replica: Replica, at: AnyVersion) -> Version:
    """Return the version that ``at`` means; raises `NoSuchVersion`, `NoSuchVolume` and the remote's errors.

    No request for an LSN that the replica knows, one for a tag; more for the rest.
    """
    if isinstance(at, Version):
        return at
    state = replica.view().state
    here = _Where(replica.remote, replica.name, state.identity.lineage, known=state.lsn)
    if not isinstance(at, str):
        return here.at_moment(at) if isinstance(at, datetime) else here.at_lsn(at)
    volume, separator, selector = at.rpartition("@")
    if not separator:
        return _selected(here, at, _tag_or_branch)
    record = volume_record(replica.remote, volume)
    there = _Where(replica.remote, volume, record.lineage)
    return _selected(there, selector, _tag)


def chain_to(replica: Replica, version: Version) -> list[CommitIndex]:
    """Return the chain of a version, newest first, nothing for the empty one; what is not known is read in one batch.

    Raises `VersionCollected` for one that was given up, `HistoryLost` if the remote lacks it, or has another commit
    than the one that was tagged, and `BadRequest` for a version of another volume whose pages have another size.
    """
    remote, log, lsn, known = replica.remote, version.log, version.lsn, replica.view().state.chain
    is_mine = bool(known) and (known[0].commit.log, known[0].commit.lsn) == (log, lsn)
    remaining = None if is_mine else remote.parallel.begin(lambda: remote.remaining(log))
    try:
        chain = remote.chain(log, lsn, known)
    except (VersionCollected, HistoryLost):
        if remaining is not None and lsn not in (left := remaining()):
            raise version_collected(replica.name, lsn, left) from None
        raise
    if remaining is not None and lsn not in (left := remaining()):
        raise version_collected(replica.name, lsn, left)
    if chain and version.hash not in {None, chain[0].commit.hash.hex()}:
        raise HistoryLost(
            f"commit {version.lsn} of log {version.log} in {replica.remote.store.url} is {chain[0].commit.hash.hex()}, "
            f"and {version.hash} was tagged: the remote lost commits, others took their place"
        )
    if chain and chain[0].commit.page_size != replica.page_size:
        raise BadRequest(
            f"LSN {version.lsn} of log {version.log} has pages of {chain[0].commit.page_size} bytes, volume "
            f"{replica.name} has pages of {replica.page_size} bytes"
        )
    return chain


@dataclass(frozen=True, slots=True)
class _Where:
    """The volume whose version is looked for."""

    remote: Remote
    name: str
    lineage: Lineage
    known: int = -1
    """The newest LSN that is known to be there."""

    def head(self) -> Version:
        return Version(self.lineage, self.remote.head(self.lineage))

    def at_lsn(self, lsn: int) -> Version:
        if not BEFORE_FIRST <= lsn <= self.known:
            head = self.remote.head(self.lineage)
            if not BEFORE_FIRST <= lsn <= head:
                raise NoSuchVersion(f"volume {self.name} has LSN 0 to {head}, not {lsn}")
        return Version(self.lineage, LSN(lsn))

    def at_moment(self, moment: datetime) -> Version:
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        with remote_errors(f"looking for the commit at {moment.isoformat()}"):
            head, left = self.remote.head(self.lineage), self.remote.remaining(self.lineage.log)
            after = BEFORE_FIRST if left.is_whole else LSN(left.floor - 1)
            lsn = lsn_at(self.remote.commits, self.lineage, head, int(moment.timestamp() * 1_000_000), after)
        if lsn == after and not left.is_whole:
            raise VersionCollected(
                f"volume {self.name}: the version at {moment.isoformat()} was collected; what remains is "
                f"{left.describe()}"
            )
        if lsn == BEFORE_FIRST:
            raise NoSuchVersion(f"volume {self.name} has no commit at or before {moment.isoformat()}")
        return Version(self.lineage, lsn)


def _selected(where: _Where, text: str, named: Callable[[_Where, str], Version]) -> Version:
    if text.isdecimal():
        return where.at_lsn(int(text))
    if text.lower() == HEAD:
        return where.head()
    with suppress(ValueError):
        return where.at_moment(datetime.fromisoformat(text))
    try:
        check_tag(text)
    except ValueError:
        raise NoSuchVersion(
            f"{text!r} is neither an LSN nor an ISO 8601 time, and no tag or branch can be called so"
        ) from None
    return named(where, text)


def _tag(where: _Where, name: str) -> Version:
    found = _from_tag(where, name)
    if found is None:
        raise NoSuchVersion(f"volume {where.name} has no tag {name}{_near(name, _tags(where))}")
    return found


def _tag_or_branch(where: _Where, name: str) -> Version:
    found = _from_tag(where, name)
    if found is not None:
        return found
    record = named_volume(where.remote, name)
    if record is None:
        names = [*_tags(where), *_branches(where)]
        raise NoSuchVersion(
            f"{name!r} is neither an LSN nor an ISO 8601 time, and volume {where.name} has no tag of this name, nor a "
            f"branch{_near(name, names)}"
        )
    return _Where(where.remote, name, record.lineage).head()


def _from_tag(where: _Where, name: str) -> Version | None:
    """Return what a tag of the volume stands for, or, if it has none of this name, of its ancestors."""
    for volume in (where.lineage.volume, *(parent.volume for parent in where.lineage.earlier)):
        tag = named_tag(where.remote, volume, name)
        if tag is not None:
            return Version(_lineage_of(where.lineage, tag), tag.lsn, tag.commit)
    return None


def _lineage_of(mine: Lineage, tag: TagRecord) -> Lineage:
    """Return a lineage that has a tag's version: that of the volume, or of an ancestor that went on after the fork."""
    if mine.log_of(tag.lsn) == tag.log:
        return mine
    for place, parent in enumerate(mine.earlier):
        if parent.log == tag.log:
            return Lineage(parent.volume, parent.log, mine.earlier[place + 1 :])
    return Lineage(tag.volume, tag.log)


def remaining_versions(remote: Remote, lineage: Lineage, head: LSN, limit: int | None = None) -> list[LSN]:
    """Return the versions of a volume up to ``head`` that were not collected, newest first, at most ``limit``.

    One request for each log that has any of them, where nothing was collected.
    """
    found: list[LSN] = []
    log, newest = lineage.log, head
    for parent in (*lineage.earlier, None):
        start = parent.lsn if parent else BEFORE_FIRST
        if newest > start:
            found += [lsn for lsn in remote.remaining(log).below(newest) if start < lsn <= newest]
        if parent is None or (limit is not None and len(found) >= limit):
            break
        log, newest = parent.log, min(newest, parent.lsn)
    return found if limit is None else found[:limit]


def _tags(where: _Where) -> list[str]:
    """Return the names of the volume's tags, as far as they can be listed."""
    with suppress(MetaStoreError, PageStoreError):
        return list_tags(where.remote.store, where.lineage.volume)
    return []


def _branches(where: _Where) -> list[str]:
    with suppress(MetaStoreError, PageStoreError):
        return list_volumes(where.remote.store)
    return []


def no_such_tag(replica: Replica, name: str) -> NoSuchVersion:
    """Return an error that names the tags that may have been meant; one listing."""
    where = _Where(replica.remote, replica.name, replica.lineage)
    return NoSuchVersion(f"volume {replica.name} has no tag {name}{_near(name, _tags(where))}")


def _near(name: str, names: list[str]) -> str:
    if close := get_close_matches(name, names):
        return f"; did you mean {' or '.join(dict.fromkeys(close))}?"
    if not names:
        return ""
    return f"; there are {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"


def named_tag(remote: Remote, volume: VolumeId, name: str) -> TagRecord | None:
    """Look a tag up, one request; None if there is none."""
    with remote_errors(f"looking up the tag {name}"):
        try:
            return read_tag(remote.store, volume, name)
        except NoSuchTag:
            return None


def named_volume(remote: Remote, name: str) -> VolumeRecord | None:
    """Look a volume up, one request; None if there is none."""
    with remote_errors(f"looking up {name}"):
        try:
            return read_volume(remote.store, name)
        except NoVolume:
            return None


def volume_record(remote: Remote, name: str) -> VolumeRecord:
    """Look a volume up; raises `BadRequest` for what is no name, and `NoSuchVolume`, which suggests others."""
    try:
        check_name(name)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    record = named_volume(remote, name)
    if record is None:
        raise no_such_volume(remote.store, name)
    return record
