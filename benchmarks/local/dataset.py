"""The table of local scenarios: rows of about 220 bytes, 18 to a page, the same in every run and for every system."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from testbed.databases import made_once

_ROW_BYTES = 222
SCAN = "SELECT count(*), sum(length(body)) FROM items"
"""Reads every page and a column of every row."""
COUNT = "SELECT count(*) FROM items"
"""Reads every page, but almost nothing in it."""
LOOKUP = "SELECT body FROM items WHERE id = ?"
TOUCH = "UPDATE items SET name = ? WHERE id = ?"
"""Changes one row and leaves the number of pages as it is."""


def row_count(size: int) -> int:
    """Return the number of rows in a database of about ``size`` bytes."""
    return size // _ROW_BYTES


def random_ids(size: int, count: int, seed: int) -> list[int]:
    """Return ids of rows that a database of ``size`` bytes has."""
    rng = random.Random(seed)
    return [rng.randrange(row_count(size)) + 1 for _ in range(count)]


def plain_database(directory: Path, size: int) -> Path:
    """Return a plain SQLite file of about ``size`` bytes in ``directory``, created if it does not exist."""

    def fill(database: sqlite3.Connection) -> None:
        database.execute("CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT NOT NULL, body TEXT NOT NULL)")
        database.executemany("INSERT INTO items VALUES (?, ?, ?)", _rows(row_count(size)))

    return made_once(directory / f"source-{size}.db", fill)


def _rows(count: int) -> Iterator[tuple[int, str, str]]:
    rng = random.Random(7)
    words = [f"{rng.getrandbits(40):010x}" for _ in range(4096)]
    for number in range(1, count + 1):
        start = rng.randrange(4000)
        yield number, words[number % 4096], " ".join(words[start : start + 18])
