"""Merges the rows of two versions of a database: our changes since the base, made to their version.

    difference base → ours      (graft_sqlite_vfs.diff)
    definitions                 schema.py
    rows                        rows.py
    foreign keys                references.py
    what is derived             counters of AUTOINCREMENT, full-text indexes of other tables' content

Triggers do not fire: what they did is in the rows already.
"""

from typing import Any

import apsw

from graft.errors import MergeConflict
from graft.reading.snapshot import Snapshot
from graft.replica.replica import Replica
from graft.replica.transaction import WriteTransaction
from graft_sqlite_vfs.diff.difference import Difference, compare
from graft_sqlite_vfs.diff.names import quoted
from graft_sqlite_vfs.diff.tables import schema_of, shadow_names
from graft_sqlite_vfs.diff.virtual import module_of
from graft_sqlite_vfs.merge.conflicts import Conflict, decide_by, swapped
from graft_sqlite_vfs.merge.record import record
from graft_sqlite_vfs.merge.references import settle_references
from graft_sqlite_vfs.merge.result import MergeResult
from graft_sqlite_vfs.merge.rows import RowMerger
from graft_sqlite_vfs.merge.schema import SchemaMerger
from graft_sqlite_vfs.merge.target import Target
from graft_sqlite_vfs.overlay import overlaid

_NAMED_MAX = 5


def merge(
    replica: Replica,
    base: Snapshot,
    ours: Snapshot,
    onto: WriteTransaction,
    conflicts: Any = "fail",
    *,
    changes_are_theirs: bool = False,
) -> MergeResult:
    """Make the changes from ``base`` to ``ours`` to the version that ``onto`` changes.

    ``conflicts`` is a policy or a callable, see `graft_sqlite_vfs.merge.conflicts`. Raises `MergeConflict` with all
    conflicts that nothing settles; ``onto`` is to be closed then. With ``changes_are_theirs`` the changes are those of
    the other side to whoever decides, as where another branch is merged into this one.
    """
    decide = swapped(decide_by(conflicts)) if changes_are_theirs else decide_by(conflicts)
    theirs = onto.base
    with compare(replica, base, ours) as difference, overlaid(onto) as connection:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        target = Target(connection)

        def theirs_changed_rows(table: str) -> bool:
            with compare(replica, base, theirs) as other:
                return next(other.rows([table]), None) is not None

        schemas = SchemaMerger(target, decide, theirs_changed_rows)
        schemas.merge(difference.old_schema, difference.new_schema, _behind_virtual_tables(difference, connection))
        merger = RowMerger(target, decide)
        merger.merge(change for change in difference.rows() if change.table.lower() not in schemas.dropped)
        settle_references(target, merger, difference, decide)
        _merge_counters(connection, difference)
        _rebuild_derived(target, merger)
        found = [*schemas.conflicts, *merger.result.conflicts]
        unsettled = [*schemas.unsettled, *merger.result.unsettled]
        if changes_are_theirs:
            found, unsettled = ([conflict.swapped() for conflict in side] for side in (found, unsettled))
        if unsettled:
            connection.execute("ROLLBACK")
            raise MergeConflict(_described(theirs, unsettled), unsettled)
        if conflicts == "record" and found:
            record(connection, found)
        connection.execute("COMMIT")
    done = merger.result
    return MergeResult(
        done.inserted, done.updated, done.deleted, done.combined, done.same, done.dropped, tuple(found),
        dict(done.tables),
    )  # fmt: skip


def _behind_virtual_tables(difference: Difference, connection: apsw.Connection) -> set[str]:
    versions = (difference.before.connection, difference.after.connection, connection)
    return {name for each in versions for name in shadow_names(each)}


def _merge_counters(connection: apsw.Connection, difference: Difference) -> None:
    """Let AUTOINCREMENT go on from the higher of both counters."""
    for change in difference.rows_of("sqlite_sequence"):
        if change.after is not None:
            connection.execute(
                "UPDATE main.sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1",
                (change.after["name"], change.after["seq"]),
            )


def _rebuild_derived(target: Target, merger: RowMerger) -> None:
    """Rebuild the full-text indexes over tables that the merge changed: triggers would have kept them up to date."""
    changed = {name.lower() for name in merger.result.tables}
    for kind, name in schema_of(target.connection):
        table = target.table(name) if kind == "table" else None
        if table is None or not table.is_virtual or module_of(table) != "fts5":
            continue
        content = table.content_table()
        if content is not None and content.lower() in changed:
            target.connection.execute(f"INSERT INTO main.{quoted(name)}({quoted(name)}) VALUES ('rebuild')")  # noqa: S608


def _described(theirs: Snapshot, conflicts: list[Conflict]) -> str:
    named = [
        f"{conflict.table} {', '.join(map(repr, conflict.key))} ({conflict.kind})".replace("  ", " ")
        for conflict in conflicts[:_NAMED_MAX]
    ]
    more = f" and {len(conflicts) - _NAMED_MAX} more" if len(conflicts) > _NAMED_MAX else ""
    return (
        f"merging into {theirs.describe()}: {len(conflicts)} conflicts: {'; '.join(named)}{more}. Nothing was changed. "
        "Merge with conflicts 'ours', 'theirs' or 'record'"
    )
