"""Three-way merge of rows: the changes from the base to our side, made to their side.

Only the rows that we changed are looked up on their side, so the cost follows our change, not theirs. A row with a
declared key is the same row on both sides if the key is the same; rows without one are a bag, in which a row is worth
what its values are.

Rows that leave a unique value free are deleted before others take it: first all deletions, then all changes, and at
last what was put off because of a unique index.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import apsw

from graft_sqlite_vfs.diff.rows import Row, RowChange, Values, same
from graft_sqlite_vfs.diff.tables import Table
from graft_sqlite_vfs.diff.virtual import module_of
from graft_sqlite_vfs.merge.conflicts import OURS, THEIRS, Conflict, ConflictKind, Decide, Take
from graft_sqlite_vfs.merge.target import Target


@dataclass(slots=True)
class Merged:
    """What a merge did to their side."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    combined: int = 0
    """Of the updated rows, those of which both sides changed different columns."""
    same: int = 0
    """Changes that both sides had made."""
    dropped: int = 0
    """Our changes that their side won over."""
    conflicts: list[Conflict] = field(default_factory=list)
    """All of them, settled or not."""
    unsettled: list[Conflict] = field(default_factory=list)
    tables: Counter[str] = field(default_factory=Counter)
    """How many rows were changed in each table."""


class RowMerger:
    """Makes one side's changes to the other."""

    def __init__(self, target: Target, decide: Decide) -> None:
        """Change ``target``; ``decide`` settles conflicts."""
        self._target = target
        self._decide = decide
        self._put_off: list[tuple[Table, RowChange, Row]] = []
        self.result = Merged()
        self.written: list[tuple[Table, RowChange]] = []
        """The changes that wrote a row, to be checked for what it refers to: from their row to the merged one."""
        self.removed: list[tuple[Table, RowChange]] = []
        """The changes that took a row away, or replaced it, to be checked for what refers to it."""

    def merge(self, changes: Iterable[RowChange]) -> None:
        """Make our changes of all tables."""
        later = []
        for change in changes:
            if change.after is None:
                self._change(change)
            else:
                later.append(change)
        for change in later:
            self._change(change)
        put_off, self._put_off = self._put_off, []
        for table, change, row in put_off:
            self._insert(table, change, row)

    def _change(self, change: RowChange) -> None:
        table = self._target.table(change.table)
        if table is None:  # their side dropped it
            self._settle(
                Conflict(change.table, change.key, "schema", change.before, change.after, None, "table dropped")
            )
            return
        if table.key or (table.is_virtual and not _is_full_text(table)):
            self._keyed(table, change, self._target.find(table, change.key))
        else:
            self._of_bag(table, change)

    def _keyed(self, table: Table, change: RowChange, found: tuple[Values, Row] | None) -> None:
        address, theirs = found or ((), None)
        base, ours = change.before, change.after
        if _same_row(ours, theirs):
            self.result.same += 1
        elif _same_row(base, theirs):
            self._take(table, change, address, theirs, ours)
        elif base is None:
            self._conflict(table, change, "inserted", address, theirs)
        elif ours is None or theirs is None:
            self._conflict(table, change, "deleted", address, theirs)
        else:
            self._cells(table, change, address, theirs)

    def _cells(self, table: Table, change: RowChange, address: Values, theirs: Row) -> None:
        """Merge a row that both sides changed, column by column."""
        base, ours = change.before, change.after
        assert base is not None, "BUG: no base"
        assert ours is not None, "BUG: nothing of ours"
        mine = {name for name in ours if not _same_cell(base, ours, name)} & set(table.stored)
        both = {name for name in mine if not _same_cell(base, theirs, name) and not _same_cell(ours, theirs, name)}
        if both:
            self._conflict(table, change, "changed", address, theirs, f"column {', '.join(sorted(both))}")
            return
        self.result.combined += 1
        self._take(table, change, address, theirs, {**theirs, **{name: ours[name] for name in mine}})

    def _of_bag(self, table: Table, change: RowChange) -> None:
        """Merge a row of a table without a declared key: at the same rowid if it is there, else any equal one."""
        base, ours = change.before, change.after
        here = self._target.find(table, change.key)
        if base is None:
            assert ours is not None, "BUG: a change without a row"
            self._insert(table, change, ours, None if here else _as_rowid(change.key))
            return
        equal = here if here and _same_row(base, here[1]) else self._target.find_equal(table, base)
        if equal:
            self._take(table, change, equal[0], equal[1], ours)
        elif (ours is None and here is None) or (here and _same_row(ours, here[1])):
            self.result.same += 1
        elif ours is not None and here:
            self._cells(table, change, here[0], here[1])
        else:
            self._conflict(table, change, "deleted", here[0] if here else (), here[1] if here else None)

    def _take(self, table: Table, change: RowChange, address: Values, theirs: Row | None, row: Row | None) -> None:
        """Make a row what it is to be, where ``theirs`` is at ``address`` now."""
        if row is None:
            if theirs is not None:
                self._delete(table, change.key, address, theirs)
                self.result.deleted += 1
        elif theirs is None:
            self._insert(table, change, row)
        else:
            self._update(table, change, address, theirs, row)

    def _update(self, table: Table, change: RowChange, address: Values, theirs: Row, row: Row) -> None:
        columns = [name for name in row if name in theirs and not _same_cell(row, theirs, name)]
        if self._target.touches_unique(table, columns):
            # Another row may give the value up or take it: all of them are written when none is in the way.
            self._delete(table, change.key, address, theirs)
            self._put_off.append((table, change, row))
            return
        try:
            self._target.update(table, address, row, columns)
        except apsw.ConstraintError as error:
            self._settle(_conflict(change, "constraint", theirs, str(error)))
            return
        self._wrote(table, change.key, theirs, row)
        self.result.updated += 1

    def _insert(self, table: Table, change: RowChange, row: Row, rowid: int | None = None) -> None:
        try:
            self._target.insert(table, row, rowid)
        except apsw.ConstraintError as error:
            self._refused(table, change, row, error)
            return
        self._wrote(table, change.key, None, row)
        if change.before is None:
            self.result.inserted += 1
        else:
            self.result.updated += 1

    def _refused(self, table: Table, change: RowChange, row: Row, error: apsw.ConstraintError) -> None:
        """Settle that their side's rows, or its schema, do not allow a row."""
        in_the_way = self._target.colliding(table, row)
        kind: ConflictKind = "unique" if in_the_way else "constraint"
        theirs = in_the_way[0][1] if in_the_way else None
        decision = self._settle(_conflict(change, kind, theirs, str(error)))
        wanted = row if decision == OURS else decision.row if isinstance(decision, Take) else None
        if wanted is None or (decision == OURS and not in_the_way):
            if change.before is not None and decision is not None:
                self._restore(table, change)
            return
        for address, other in self._target.colliding(table, wanted):
            self._delete(table, change.key, address, other)
        self._target.insert(table, wanted)
        self._wrote(table, change.key, None, wanted)

    def _restore(self, table: Table, change: RowChange) -> None:
        """Put back what their side had where our version of a row lost."""
        assert change.before is not None, "BUG: there was nothing"
        if not self._target.colliding(table, change.before):
            self._target.insert(table, change.before)

    def _conflict(
        self,
        table: Table,
        change: RowChange,
        kind: ConflictKind,
        address: Values,
        theirs: Row | None,
        detail: str = "",
    ) -> None:
        decision = self._settle(_conflict(change, kind, theirs, detail))
        if decision == OURS:
            self._take(table, change, address, theirs, change.after)
        elif isinstance(decision, Take):
            self._take(table, change, address, theirs, decision.row)

    def _settle(self, conflict: Conflict) -> Take | str | None:
        self.result.conflicts.append(conflict)
        decision = self._decide(conflict)
        if decision is None:
            self.result.unsettled.append(conflict)
        if decision == THEIRS:
            self.result.dropped += 1
        return decision

    def _delete(self, table: Table, key: Values, address: Values, row: Row) -> None:
        self._target.delete(table, address)
        self.removed.append((table, RowChange(table.name, "delete", key, row, None)))
        self.result.tables[table.name] += 1

    def _wrote(self, table: Table, key: Values, before: Row | None, row: Row) -> None:
        change = RowChange(table.name, "insert" if before is None else "update", key, before, row)
        self.written.append((table, change))
        if before is not None:
            self.removed.append((table, change))
        self.result.tables[table.name] += 1


def _conflict(change: RowChange, kind: ConflictKind, theirs: Row | None, detail: str) -> Conflict:
    return Conflict(change.table, change.key, kind, change.before, change.after, theirs, detail)


def _is_full_text(table: Table) -> bool:
    return module_of(table).startswith("fts")


def _same_row(one: Row | None, other: Row | None) -> bool:
    """Return whether two rows are equal in the columns that both have."""
    if one is None or other is None:
        return one is other
    names = [name for name in one if name in other]
    return same([one[name] for name in names], [other[name] for name in names])


def _same_cell(one: Row, other: Row, name: str) -> bool:
    return name in one and name in other and same((one[name],), (other[name],))


def _as_rowid(key: Values) -> int:
    rowid = key[0]
    assert isinstance(rowid, int), "BUG: a rowid that is no integer"
    return rowid
