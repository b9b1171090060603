"""`graft log`: the commits of a volume, or of all its branches."""

from pathlib import Path

import click

from graft.errors import Corrupt, VersionCollected
from graft.operations.log import LogEntry, log_entries
from graft.operations.log_graph import GraphEntry, drawn, graph_entries
from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.time_travel import snapshot_at
from graft.sync.versions import Version
from graft_cli.human import iso, moment, one_line, size
from graft_cli.options import as_json_lines, command, directory
from graft_cli.output import as_json_text, plain, say
from graft_cli.rows import Table
from metastore.lineage import Lineage
from metastore.lsn import LSN


@command(
    "log",
    "graft log -n 5",
    "graft log --graph",
    "graft log --tables -n 10",
    "graft log --json | jq .message",
)
@directory
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="COUNT", help="Show at most COUNT commits.")
@click.option("--graph", is_flag=True, help="Draw the commits of all branches, with their names and tags.")
@click.option("--tables", is_flag=True, help="Tell which tables each commit changed; this reads pages.")
@as_json_lines
def log(directory: Path, limit: int | None, graph: bool, tables: bool, as_json: bool) -> None:
    """List the commits of DIR's volume in the remote, newest first. Local commits are not included.

    Other commands take the LSN as a version. On a branch, the commits before its start are those of its parent. The
    bytes are what a commit added to the remote.
    """
    with open_replica(directory) as replica:
        if graph:
            _graph(replica, limit, tables=tables, as_json=as_json)
            return
        table = Table()
        if not as_json:
            table.begin(["LSN", "time", "author", "kind", "pages", "bytes", *(["tables"] if tables else []), "message"])
        for entry in log_entries(replica, limit):
            changed = _changed_tables(replica, entry, replica.lineage) if tables else None
            if as_json:
                say(as_json_text(_facts(entry, changed, tables=tables)))
            else:
                table.row(_row(entry, changed, tables=tables))
        table.end()


def _graph(replica: Replica, limit: int | None, *, tables: bool, as_json: bool) -> None:
    entries = graph_entries(replica, limit)
    if as_json:
        for entry in entries:
            changed = _changed_tables(replica, entry.commit, entry.lineage) if tables else None
            say(as_json_text(_facts(entry.commit, changed, tables=tables) | _position(entry)))
        return
    for left, found in drawn(entries):
        if found is None:
            say(left)
            continue
        changed = _changed_tables(replica, found.commit, found.lineage) if tables else None
        say(f"{left} {_line(found, changed)}")


def _line(entry: GraphEntry, changed: list[str] | None) -> str:
    commit = entry.commit
    labels = f"({', '.join(entry.labels)})" if entry.labels else ""
    names = f"[{', '.join(changed)}]" if changed else ""
    parts = [str(commit.lsn), labels, moment(commit.time_us), commit.author or "", names, _message(commit)]
    return "  ".join(one_line(part) for part in parts if part)


def _position(entry: GraphEntry) -> dict[str, object]:
    parent = None if entry.parent is None else {"branch": entry.parent[0], "lsn": entry.parent[1]}
    return {"branch": entry.branch, "labels": list(entry.labels), "parent": parent}


def _facts(entry: LogEntry, changed: list[str] | None, *, tables: bool) -> dict[str, object]:
    facts: dict[str, object] = plain(entry) | {"time": iso(entry.time_us)}
    return facts | {"tables": changed} if tables else facts


def _row(entry: LogEntry, changed: list[str] | None, *, tables: bool) -> list[int | str]:
    stored = "" if entry.bytes is None else size(entry.bytes)
    names = [", ".join(changed or [])] if tables else []
    return [
        entry.lsn, moment(entry.time_us), entry.author or "", entry.kind, entry.changed_pages, stored, *names,
        _message(entry),
    ]  # fmt: skip


def _message(entry: LogEntry) -> str:
    return (entry.message or "").partition("\n")[0]


def _changed_tables(replica: Replica, entry: LogEntry, lineage: Lineage) -> list[str] | None:
    """Return the tables with rows or a schema that the commit changed; None where that cannot be told.

    That is so for a volume that is no database, and where the version before was collected.
    """
    from graft_sqlite_vfs.diff import compare  # noqa: PLC0415 - only `--tables` needs it

    if not entry.changed_pages:
        return []
    try:
        before, after = (snapshot_at(replica, Version(lineage, LSN(lsn))) for lsn in (entry.lsn - 1, entry.lsn))
        with compare(replica, before, after) as difference:
            changed = {change.name for change in difference.schema if change.type == "table"}
            return sorted({*changed, *difference.changed_tables()})
    except (Corrupt, VersionCollected):
        return None
