"""The commits of all branches of a volume, and a drawing of how they follow each other."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graft.errors import remote_errors
from graft.operations.log import LogEntry, entry_of
from graft.replica.replica import Replica
from graft.sync.branches import family_of
from graft.sync.versions import remaining_versions
from metastore.history import read_each
from metastore.ids import LogId
from metastore.lineage import Lineage
from metastore.lsn import LSN
from metastore.tags import tags_of
from metastore.volumes import VolumeRecord


@dataclass(frozen=True, slots=True)
class GraphEntry:
    """One commit among those of all branches."""

    branch: str
    """The branch in whose own log it is."""
    commit: LogEntry
    labels: tuple[str, ...]
    """Branches that end here, tags, and the replica if it builds on this commit."""
    parent: tuple[str, int] | None
    """Where the branch begins with this commit: the branch and LSN that it was forked at."""
    lineage: Lineage
    """Of the branch."""


def graph_entries(replica: Replica, limit: int | None = None) -> list[GraphEntry]:
    """Return the commits of all branches, each once, newest first; at most ``limit``. Raises the remote's errors."""
    family, remote = family_of(replica), replica.remote
    by_log = {record.log: name for name, record in family.items()}
    labels: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    found: list[tuple[str, LogEntry]] = []
    state = replica.view().state
    labels[str(state.identity.lineage.log_of(state.lsn)), state.lsn].append(f"replica -> {replica.name}")
    for name, record in family.items():
        with remote_errors(f"reading the log of volume {name}"):
            head = remote.head(record.lineage)
            labels[str(record.lineage.log_of(head)), head].append(name)
            left = remaining_versions(remote, record.lineage, head, limit)
            own = [lsn for lsn in left if lsn > record.lineage.start]
            found += [
                (name, entry_of(commit)) for commit in read_each(remote.commits, remote.parallel, record.log, own)
            ]
            for tag, tagged in tags_of(remote.store, remote.parallel, record.volume).items():
                labels[str(tagged.log), tagged.lsn].append(f"tag: {tag}")
    found.sort(key=lambda each: (each[1].time_us, each[1].lsn), reverse=True)
    return [
        GraphEntry(
            name,
            entry,
            tuple(labels[entry.log, entry.lsn]),
            _fork_point(family[name], entry, by_log),
            family[name].lineage,
        )
        for name, entry in found[:limit]
    ]


def _fork_point(record: VolumeRecord, entry: LogEntry, by_log: Mapping[LogId, str]) -> tuple[str, int] | None:
    if not record.earlier or entry.lsn != LSN(record.lineage.start + 1):
        return None
    parent = record.earlier[0]
    return (by_log[parent.log], parent.lsn) if parent.log in by_log else None


def drawn(entries: Sequence[GraphEntry]) -> Iterator[tuple[str, GraphEntry | None]]:
    """Yield the lines of a drawing: what is left of each commit, and lines between commits, which have none (pure).

    Each branch has a column, to the right of its parent's:

        * 6  main
        | * 6  experiment
        | * 5
        |/
        * 4
    """
    columns = _columns(entries)
    last = {entry.branch: place for place, entry in enumerate(entries)}
    begun: set[str] = set()
    waiting: dict[tuple[str, int], list[str]] = {}
    for place, entry in enumerate(entries):
        begun.add(entry.branch)
        for child in waiting.pop((entry.branch, entry.commit.lsn), []):
            yield _closing(columns, begun, entry.branch, child), None
            begun.discard(child)
        marks = ["*" if name == entry.branch else "|" if name in begun else " " for name in columns]
        yield " ".join(marks).rstrip(), entry
        if entry.parent is not None and any(_is(entry.parent, other) for other in entries[place + 1 :]):
            waiting.setdefault(entry.parent, []).append(entry.branch)
        elif last[entry.branch] == place:
            begun.discard(entry.branch)


def _is(parent: tuple[str, int], entry: GraphEntry) -> bool:
    return parent == (entry.branch, entry.commit.lsn)


def _columns(entries: Sequence[GraphEntry]) -> list[str]:
    """Return the branches, each after the one that it was forked from."""
    parents = {entry.branch: entry.parent[0] if entry.parent else None for entry in reversed(entries)}
    for entry in entries:
        if entry.parent:
            parents[entry.branch] = entry.parent[0]
    found: list[str] = []

    def add(name: str) -> None:
        parent = parents.get(name)
        if parent in parents and parent not in found:
            add(parent)
        if name not in found:
            found.append(name)

    for name in parents:
        add(name)
    return found


def _closing(columns: Sequence[str], begun: set[str], parent: str, child: str) -> str:
    marks = [mark for name in columns for mark in ("|" if name in begun and name != child else " ", " ")]
    left, right = 2 * columns.index(parent), 2 * columns.index(child)
    for place in range(left + 1, right - 1):
        if marks[place] == " ":
            marks[place] = "_"
    marks[right - 1] = "/"
    return "".join(marks).rstrip()
