"""Plain SQLite files that are made once and used again."""

import sqlite3
from collections.abc import Callable
from pathlib import Path


def made_once(path: Path, fill: Callable[[sqlite3.Connection], None]) -> Path:
    """Return the plain SQLite file ``path``, created by ``fill`` if it does not exist; never half-written."""
    if path.exists():
        return path
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    database = sqlite3.connect(draft)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    fill(database)
    database.commit()
    database.close()
    draft.rename(path)
    return path
