"""A row difference in the format of SQLite's session extension, which its tools read, invert and apply.

Format: sqlite.org, `ext/session/sqlite3session.c`, "RECORD FORMAT" and "CHANGESET FORMAT"; integers are big-endian:

    table      'T' (patchset: 'P'), columns (varint), a byte for each column (its place in the key, or 0), name, NUL
    change     18 insert, 9 delete or 23 update; 0 (not indirect); records
      insert   the new row
      delete   the old row (patchset: of the key only)
      update   old: the key, and the old values of what changed; new: their new values (patchset: with the key; no old)
    value      0 undefined, 1 integer (8 bytes), 2 float (8), 3 text, 4 BLOB (varint of the length, bytes), 5 NULL

As in SQLite, only tables with a declared primary key are in it, without rows whose key has a NULL, and without
generated columns. A changed key is a delete and an insert; SQLite inverts both, but not their order, so an inverted
changeset conflicts with itself where a collation holds both keys for equal.
"""

import struct
from collections.abc import Collection, Iterator

from graft.errors import BadRequest
from graft_sqlite_vfs.btree.records import Value
from graft_sqlite_vfs.diff.difference import Difference
from graft_sqlite_vfs.diff.rows import Row, RowChange, same
from graft_sqlite_vfs.diff.tables import Table

_INSERT, _DELETE, _UPDATE = b"\x12\x00", b"\x09\x00", b"\x17\x00"
_UNDEFINED = b"\x00"
_INTEGER, _FLOAT = struct.Struct(">bq"), struct.Struct(">bd")


def changeset(
    difference: Difference, tables: Collection[str] | None = None, *, as_patchset: bool = False
) -> Iterator[bytes]:
    """Yield the parts of a changeset, or of a patchset, which is smaller and cannot be inverted.

    Raises `BadRequest` for a table whose columns or key differ between the versions, if any of its rows changed.
    """
    for name in difference.named(tables):
        before, after = difference.tables[name]
        table = after or before
        assert table is not None, "BUG: a table that is in neither version"
        if not is_in_changesets(table):
            continue
        is_begun = False
        for change in difference.rows([name]):
            if before and after and (before.stored, before.key) != (after.stored, after.key):
                raise BadRequest(
                    f"table {name}: its columns differ between {difference.before.snapshot.describe()} and "
                    f"{difference.after.snapshot.describe()}, which a changeset cannot say: use SQL statements instead"
                )
            if found := _change(table, change, is_patchset=as_patchset):
                if not is_begun:
                    yield _header(table, is_patchset=as_patchset)
                    is_begun = True
                yield found


def is_in_changesets(table: Table) -> bool:
    """Return whether SQLite's session extension records this table."""
    return bool(table.key) and not table.is_virtual


def _header(table: Table, *, is_patchset: bool) -> bytes:
    places = bytes(table.key.index(column) + 1 if column in table.key else 0 for column in table.stored)
    return (b"P" if is_patchset else b"T") + _varint(len(table.stored)) + places + table.name.encode() + b"\0"


def _change(table: Table, change: RowChange, *, is_patchset: bool) -> bytes:
    old, new = change.before, change.after
    if old is not None and None in _key_of(table, old):
        old = None
    if new is not None and None in _key_of(table, new):
        new = None
    if old is not None and new is not None and same(_key_of(table, old), _key_of(table, new)):
        return _update(table, old, new, is_patchset=is_patchset)
    deleted = table.key if is_patchset else table.stored
    return b"".join([
        _DELETE + b"".join(_value(old[column]) for column in table.stored if column in deleted) if old else b"",
        _INSERT + b"".join(_value(new[column]) for column in table.stored) if new else b"",
    ])  # fmt: skip


def _update(table: Table, old: Row, new: Row, *, is_patchset: bool) -> bytes:
    changed = {column for column in table.stored if not same((old[column],), (new[column],))}
    if not changed:
        return b""  # a generated column alone
    shown = changed.union(table.key)
    before = b"".join(_value(old[column]) if column in shown else _UNDEFINED for column in table.stored)
    written = shown if is_patchset else changed
    after = b"".join(_value(new[column]) if column in written else _UNDEFINED for column in table.stored)
    return _UPDATE + (after if is_patchset else before + after)


def _key_of(table: Table, row: Row) -> tuple[Value, ...]:
    return tuple(row[column] for column in table.key)


def _value(value: Value) -> bytes:
    match value:
        case None:
            return b"\x05"
        case int():
            return _INTEGER.pack(1, value)
        case float():
            return _FLOAT.pack(2, value)
        case str():
            return b"\x03" + _sized(value.encode())
        case _:
            return b"\x04" + _sized(value)


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Return SQLite's variable-length form of a number below 2⁵⁶."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))
