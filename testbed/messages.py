"""A sample database: a table of messages of about 300 bytes each, the same in every run.

Words follow Zipf's law and come in phrases, so that the text compresses as text does: pages of it in groups of 64, with
Zstandard at level 3, to about 29 % of their size.
"""

import random
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

from testbed.databases import made_once

SCAN = "SELECT count(*), sum(length(body)) FROM messages"
"""Reads every page of the table and a column of every row."""
LOOKUP = "SELECT subject, body FROM messages WHERE id = ?"
RANGE = "SELECT count(*), sum(length(body)) FROM messages WHERE sent BETWEEN ? AND ?"
"""Goes through the index."""
TOUCH = "UPDATE messages SET status = ? WHERE id = ?"
"""Changes one row and leaves the number of pages as it is."""

_ROW_BYTES = 318
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_SECONDS_BETWEEN = 90
_SYLLABLES = re.findall(
    "..",
    "anarasbecacodediedeleneresfohahehoilinisitlalelilomamemimonanenoonorou"
    "papepoprqurarerirosaseshsisostsutatethtitotrunurusveviwawe",
)
_VOCABULARY = 8000
_PHRASES = 3000
_PHRASE_SHARE = 0.45
_AUTHORS = 2000
_STATUS = ("open", "done", "held")


def row_count(size: int) -> int:
    """Return the number of rows in a database of about ``size`` bytes."""
    return size // _ROW_BYTES


def random_ids(size: int, count: int, seed: int) -> list[int]:
    """Return ids of rows that a database of ``size`` bytes has."""
    rng = random.Random(seed)
    return [rng.randrange(row_count(size)) + 1 for _ in range(count)]


def sent_between(size: int, share: float, seed: int) -> tuple[str, str]:
    """Return bounds of `RANGE` that hold about this share of the rows."""
    rows = row_count(size)
    first = random.Random(seed).randrange(int(rows * (1 - share)))
    return _sent(first), _sent(first + int(rows * share))


def message_database(directory: Path, size: int) -> Path:
    """Return a plain SQLite file of about ``size`` bytes in ``directory``, created if it does not exist."""

    def fill(database: sqlite3.Connection) -> None:
        database.execute(
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, sent TEXT NOT NULL, author TEXT NOT NULL,"
            " status TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL)"
        )
        database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)", _rows(row_count(size)))
        database.execute("CREATE INDEX by_sent ON messages(sent)")

    return made_once(directory / f"messages-{size}.db", fill)


def _rows(count: int) -> Iterator[tuple[int, str, str, str, str, str]]:
    rng = random.Random(11)
    writer = _Writer(rng)
    authors = [f"{writer.word()}.{writer.word()}{rng.randrange(100)}@example.org" for _ in range(_AUTHORS)]
    for number in range(1, count + 1):
        # Messages arrive a little out of the order in which they were sent.
        sent = _sent(number + rng.randrange(20))
        subject = " ".join(writer.words(4)).capitalize()
        body = " ".join(writer.words(12 + int(rng.expovariate(1 / 18))))
        yield number, sent, rng.choice(authors), rng.choice(_STATUS), subject, body


def _sent(number: int) -> str:
    return (_FIRST + timedelta(seconds=number * _SECONDS_BETWEEN)).isoformat(" ", "seconds")


class _Writer:
    """Generates words and phrases with realistic frequencies."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._vocabulary = [
            "".join(rng.choices(_SYLLABLES, k=rng.choice((1, 2, 2, 3, 3, 4)))) for _ in range(_VOCABULARY)
        ]
        self._weights = list(accumulate(1 / rank for rank in range(1, _VOCABULARY + 1)))
        self._phrases = [self._loose(rng.choice((3, 4, 5))) for _ in range(_PHRASES)]
        self._phrase_weights = list(accumulate(1 / rank for rank in range(1, _PHRASES + 1)))

    def word(self) -> str:
        return self._rng.choices(self._vocabulary, cum_weights=self._weights)[0]

    def words(self, count: int) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            if self._rng.random() < _PHRASE_SHARE:
                found += self._rng.choices(self._phrases, cum_weights=self._phrase_weights)[0]
            else:
                found += self._loose(3)
        return found[:count]

    def _loose(self, count: int) -> list[str]:
        return self._rng.choices(self._vocabulary, cum_weights=self._weights, k=count)
