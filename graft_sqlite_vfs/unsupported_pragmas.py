"""Settings of SQLite that a volume cannot have: refused with words that say what to do, instead of ignored.

SQLite asks the main database's file about a pragma without a schema name, and the schema's file otherwise.
"""

from graft.errors import BadRequest


def refuse(pragma: str, value: str | None, volume: str, page_size: int) -> None:
    """Raise `BadRequest` if ``PRAGMA pragma=value`` would lose data or cannot be; asking for a value is always fine."""
    if value is None:
        return
    name, wanted = pragma.lower(), value.lower()
    if name == "journal_mode" and wanted != "memory":
        raise BadRequest(
            f"journal_mode={value} is not for volume {volume}: a volume has its own journal, and only "
            "journal_mode=MEMORY, which `connect` sets, does not get in its way. Leave this pragma out"
        )
    if name == "locking_mode" and wanted != "normal":
        raise BadRequest(
            f"locking_mode={value} is not for volume {volume}: readers would block its writer. Leave this pragma out; "
            "to keep others from writing for a while, use BEGIN IMMEDIATE"
        )
    if name == "page_size" and wanted != str(page_size):
        raise BadRequest(
            f"volume {volume} has pages of {page_size} bytes, which cannot change: make a volume with "
            f"page_size={value} and copy the tables there"
        )
