"""Refuses SQLite settings that a volume does not support, with a message that says what to do instead.

SQLite passes a pragma without a schema name to the main database's file, and otherwise to the named schema's file.
"""

from graft.errors import BadRequest


def refuse(pragma: str, value: str | None, volume: str, page_size: int) -> None:
    """Raise `BadRequest` if ``PRAGMA pragma=value`` would lose data or is impossible; reading a value is allowed."""
    if value is None:
        return
    name, wanted = pragma.lower(), value.lower()
    if name == "journal_mode" and wanted != "memory":
        raise BadRequest(
            f"journal_mode={value} cannot be used with volume {volume}: a volume has its own journal, which works only "
            "with journal_mode=MEMORY, and `connect` sets that. Leave this pragma out"
        )
    if name == "locking_mode" and wanted != "normal":
        raise BadRequest(
            f"locking_mode={value} cannot be used with volume {volume}: readers would block its writer. Leave this "
            "pragma out; to block other writers for a while, use BEGIN IMMEDIATE"
        )
    if name == "page_size" and wanted != str(page_size):
        raise BadRequest(
            f"volume {volume} has pages of {page_size} bytes, which cannot change: create a volume with "
            f"page_size={value} and copy the tables into it"
        )
