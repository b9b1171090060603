"""Names and values as SQL text."""

import apsw

from graft_sqlite_vfs.btree.records import Value


def quoted(name: str) -> str:
    """Return a name as SQL reads it."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: Value) -> str:
    """Return a value as SQL reads it."""
    return str(apsw.format_sql_value(value))
