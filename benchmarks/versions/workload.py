"""The rows that both systems hold, and which of them change."""

import random
from collections.abc import Iterator

TABLE = "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT, email TEXT, score INTEGER)"
INSERT = "INSERT INTO users VALUES (?, ?, ?, ?)"


def rows(count: int) -> Iterator[tuple[int, str, str, int]]:
    """Yield the rows to begin with."""
    return ((number, f"user {number}", f"user{number}@example.com", number % 1000) for number in range(count))


def changed_keys(count: int, changed: int) -> list[int]:
    """Return even keys, so that the ones after them are others."""
    return sorted(random.Random(1).sample(range(0, count - 1, 2), changed))
