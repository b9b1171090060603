"""Tags: names that are given to versions of a volume, in its remote."""

from dataclasses import dataclass

from graft.author import author_of
from graft.errors import BadRequest, HistoryLost, VersionCollected, remote_errors
from graft.replica.replica import Replica
from graft.sync.collected import require_remaining
from graft.sync.versions import AnyVersion, Version, named_tag, no_such_tag, resolve
from metastore.errors import CommitMissing
from metastore.index import read_index
from metastore.lsn import BEFORE_FIRST
from metastore.tags import TagRecord, check_tag, create_tag, replace_tag, tags_of
from metastore.tags import delete_tag as delete_tag_object


@dataclass(frozen=True, slots=True)
class Tag:
    """A version's name."""

    name: str
    lsn: int
    log: str
    """The log that has the version: a volume's own, or an ancestor's."""
    hash: str
    """Of the version's commit."""
    time_us: int
    """When the tag was made, in microseconds since the Unix epoch."""
    author: str
    message: str | None
    inherited: bool
    """Whether it is a tag of a volume that this one was forked from."""


def tag(
    replica: Replica, name: str, at: AnyVersion | None = None, *, message: str | None = None, force: bool = False
) -> Tag:
    """Name a version, by default the one that the replica builds on.

    A tag stays where it is: `TagExists`, unless ``force`` moves it. Three requests: the commit is looked at, the tag is
    made, and then, that it was not being collected. Raises `NoSuchVersion`, `BadRequest` for a name that is none or an
    empty version, or where there are local commits and no version is given, and the remote's errors.
    """
    check_tag_name(name)
    version = _newest(replica) if at is None else resolve(replica, at)
    if version.lsn == BEFORE_FIRST:
        raise BadRequest(f"volume {replica.name}: there is nothing to tag before the first commit")
    record = _record(replica, version, message)
    with remote_errors(f"tagging LSN {version.lsn} of volume {replica.name}"):
        (replace_tag if force else create_tag)(replica.remote.store, name, record)
    try:
        require_remaining(replica.remote, version.log, version.lsn, replica.name)
    except VersionCollected:
        with remote_errors(f"taking back the tag {name}"):
            delete_tag_object(replica.remote.store, replica.volume, name)
        raise
    return _described(name, record, inherited=False)


def list_tags(replica: Replica) -> list[Tag]:
    """Return the tags of the volume, and those of its ancestors that it has no tag of the same name for, sorted."""
    lineage, found = replica.lineage, dict[str, Tag]()
    for volume in (lineage.volume, *(parent.volume for parent in lineage.earlier)):
        with remote_errors(f"listing the tags of volume {replica.name}"):
            tags = tags_of(replica.remote.store, replica.remote.parallel, volume)
        for name, record in tags.items():
            found.setdefault(name, _described(name, record, inherited=volume != lineage.volume))
    return [found[name] for name in sorted(found)]


def delete_tag(replica: Replica, name: str) -> Tag:
    """Delete a tag of the volume, and return what it was; raises `NoSuchVersion`. The version stays as it is."""
    check_tag_name(name)
    record = named_tag(replica.remote, replica.volume, name)
    if record is None:
        raise no_such_tag(replica, name)
    with remote_errors(f"deleting the tag {name}"):
        delete_tag_object(replica.remote.store, replica.volume, name)
    return _described(name, record, inherited=False)


def check_tag_name(name: str) -> None:
    """Raise `BadRequest` for what cannot be a tag's name."""
    try:
        check_tag(name)
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _newest(replica: Replica) -> Version:
    view = replica.view()
    if view.pending:
        raise BadRequest(
            f"volume {replica.name}: there are local commits ({len(view.pending)}) that have no LSN yet: push them "
            f"first, or name the version to tag, as in {view.state.lsn}"
        )
    return Version(view.state.identity.lineage, view.state.lsn)


def _record(replica: Replica, version: Version, message: str | None) -> TagRecord:
    with remote_errors(f"looking for commit {version.lsn} of log {version.log}"):
        try:
            commit = read_index(replica.remote.commits, version.log, version.lsn).commit
        except CommitMissing:
            require_remaining(replica.remote, version.log, version.lsn, replica.name)
            raise
    state = replica.view().state
    mine = {index.commit.lsn: index.commit.hash.hex() for index in state.chain if index.commit.log == version.log}
    expected = version.hash or mine.get(version.lsn)
    if expected not in {None, commit.hash.hex()}:
        raise HistoryLost(
            f"volume {replica.name}: LSN {version.lsn} in {replica.remote.store.url} is another commit, "
            f"{commit.hash.hex()}, than the one that is known here, {expected}: the remote lost commits, others took "
            "their place. Nothing was tagged"
        )
    return TagRecord(
        volume=replica.volume, log=version.log, lsn=version.lsn, commit=commit.hash.hex(),
        created_us=int(replica.runtime.now_s() * 1_000_000), author=author_of(replica.settings), message=message,
    )  # fmt: skip


def _described(name: str, record: TagRecord, *, inherited: bool) -> Tag:
    return Tag(
        name, record.lsn, str(record.log), record.commit, record.created_us, record.author, record.message, inherited
    )
