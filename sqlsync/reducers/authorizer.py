"""Decides what reducers may do with SQL, from the calls of SQLite's authorizer while a statement is prepared."""

import apsw

from sqlsync.tables import PREFIX

_TEMPORARY = "reducers may not create temporary tables, views or triggers: they would outlive the mutation"
_OTHER_DATABASE = "reducers may not attach or detach databases: they may use only the document"
_NEVER = {
    apsw.SQLITE_TRANSACTION: "reducers may not begin or end transactions: each mutation already runs in one",
    apsw.SQLITE_ATTACH: _OTHER_DATABASE,
    apsw.SQLITE_DETACH: _OTHER_DATABASE,
    apsw.SQLITE_CREATE_TEMP_INDEX: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_TABLE: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_TRIGGER: _TEMPORARY,
    apsw.SQLITE_CREATE_TEMP_VIEW: _TEMPORARY,
}
_READABLE_PRAGMAS = frozenset({
    "application_id", "auto_vacuum", "collation_list", "data_version", "encoding", "foreign_key_check",
    "foreign_key_list", "foreign_keys", "freelist_count", "index_info", "index_list", "index_xinfo", "page_count",
    "page_size", "quick_check", "table_info", "table_list", "table_xinfo", "user_version",
})  # fmt: skip
# SQLite itself runs quick_check when ALTER TABLE adds a column to a STRICT table.
_PRAGMAS_OF_A_TABLE = frozenset({
    "foreign_key_check", "foreign_key_list", "index_info", "index_list", "index_xinfo", "quick_check", "table_info",
    "table_list", "table_xinfo",
})  # fmt: skip
_MIGRATION_PRAGMAS = frozenset({"defer_foreign_keys"})
_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})
_NOT_NAMES = frozenset(
    {apsw.SQLITE_ANALYZE, apsw.SQLITE_FUNCTION, apsw.SQLITE_PRAGMA, apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE}
)


def refusal(code: int, first: str | None, second: str | None, *, migrating: bool) -> str | None:
    """Return why a reducer may not do what SQLite's authorizer asks about; None if it may."""
    if code in _NEVER:
        return _NEVER[code]
    if code == apsw.SQLITE_PRAGMA and not _may_ask(first or "", second, migrating=migrating):
        return f"reducers may not use PRAGMA {first}" + ("" if second is None else f" = {second}")
    if code == apsw.SQLITE_FUNCTION and second is not None and second.lower() in _FUNCTIONS:
        return f"reducers may not call {second}()"
    if code not in _NOT_NAMES and any(name.lower().startswith(PREFIX) for name in (first, second) if name):
        return f"reducers may not use names with the prefix {PREFIX}: sqlsync needs them to apply each mutation once"
    return None


def _may_ask(pragma: str, value: str | None, *, migrating: bool) -> bool:
    name = pragma.lower()
    if migrating and name in _MIGRATION_PRAGMAS:
        return True
    return name in _READABLE_PRAGMAS and (value is None or name in _PRAGMAS_OF_A_TABLE)
