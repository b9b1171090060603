"""Measures DoltLite (`doltlite`): ``python -m benchmarks.versions.doltlite_worker DIR ROWS CHANGED ROUNDS``.

Importing it replaces the SQLite library of the process, so it has a process of its own.
"""

# ruff: noqa: I001 - doltlite comes before sqlite3

import doltlite  # noqa: F401
import sqlite3

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.versions.workload import INSERT, TABLE, changed_keys, rows


def main(directory: Path, count: int, changed: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each operation, one figure a round."""
    connection = sqlite3.connect(directory / "dolt.db", isolation_level=None)
    connection.execute(TABLE)
    connection.execute("BEGIN")
    connection.executemany(INSERT, rows(count))
    connection.execute("COMMIT")
    connection.execute("SELECT dolt_commit('-A', '-m', 'all')")
    keys = changed_keys(count, changed)
    update(connection, "UPDATE users SET name = name || 'x' WHERE id = ?", keys)
    connection.execute("SELECT dolt_commit('-A', '-m', 'changed')")
    found: dict[str, list[float]] = {}

    def timed(name: str, query: str, *parameters: object) -> list[tuple[object, ...]]:
        begun_s = time.perf_counter()
        try:
            result = connection.execute(query, parameters).fetchall()
        except sqlite3.OperationalError as error:  # a merge that finds conflicts
            if "conflict" not in str(error):
                raise
            result = []
        found.setdefault(name, []).append(time.perf_counter() - begun_s)
        return result

    for _ in range(rounds):
        rows_found = timed("diff", "SELECT * FROM dolt_diff_users('HEAD~1', 'HEAD')")
        if len(rows_found) != changed:
            raise SystemExit(f"diff: {len(rows_found)} rows, not {changed}")
        timed("blame of a row", "SELECT * FROM dolt_blame_users WHERE id = ?", keys[0])
        timed("history of a row", "SELECT * FROM dolt_history_users WHERE id = ?", keys[0])
    merges: dict[str, tuple[str, Callable[[int], int]]] = {
        "merge, disjoint rows": ("UPDATE users SET name = 'ours' WHERE id = ?", lambda key: key + 1),
        "merge, other columns": ("UPDATE users SET name = 'ours' WHERE id = ?", lambda key: key),
        "merge, conflicts": ("UPDATE users SET score = -2 WHERE id = ?", lambda key: key),
    }
    for number, (name, (sql, key_of)) in enumerate(merges.items()):
        for attempt in range(rounds):
            branch, aside = f"b{number}x{attempt}", f"m{number}x{attempt}"
            timed("branch", "SELECT dolt_branch(?)", branch)
            connection.execute("SELECT dolt_branch(?)", (aside,))
            connection.execute("SELECT dolt_checkout(?)", (branch,))
            update(connection, "UPDATE users SET score = -1 WHERE id = ?", keys)
            connection.execute("SELECT dolt_commit('-A', '-m', 'theirs')")
            connection.execute("SELECT dolt_checkout(?)", (aside,))
            update(connection, sql, [key_of(key) for key in keys])
            connection.execute("SELECT dolt_commit('-A', '-m', 'ours')")
            if name == "merge, conflicts":
                connection.execute("BEGIN")
            timed(name, "SELECT dolt_merge(?)", branch)
            if name == "merge, conflicts":
                connection.execute("ROLLBACK")
            connection.execute("SELECT dolt_checkout('main')")
    return found


def update(connection: sqlite3.Connection, sql: str, keys: list[int]) -> None:
    """Change rows in one transaction."""
    connection.execute("BEGIN")
    connection.executemany(sql, [(key,) for key in keys])
    connection.execute("COMMIT")


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
