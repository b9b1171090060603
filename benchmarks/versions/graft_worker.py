"""Measures graft: ``python -m benchmarks.versions.graft_worker DIR ROWS CHANGED ROUNDS`` prints one JSON object."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw

import graft
from benchmarks.versions.workload import INSERT, TABLE, changed_keys, rows
from graft_sqlite_vfs import connect, open_diff
from graft_sqlite_vfs.history import blame, row_history
from graft_sqlite_vfs.merge import merge_version


def main(directory: Path, count: int, changed: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each operation, one figure a round."""
    connection = connect(directory / "a", remote=f"{directory}/store#a")
    connection.execute(TABLE)
    with connection:
        connection.executemany(INSERT, rows(count))
    connection.pragma("graft_push")
    keys = changed_keys(count, changed)
    with connection:
        connection.executemany("UPDATE users SET name = name || 'x' WHERE id = ?", [(key,) for key in keys])
    connection.pragma("graft_push")
    found: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object], expected: object) -> None:
        begun_s = time.perf_counter()
        result = work()
        found.setdefault(name, []).append(time.perf_counter() - begun_s)
        if result != expected:
            raise SystemExit(f"{name}: {result}, not {expected}")

    for _ in range(rounds):
        timed("diff", lambda: _diffed(directory), changed)
        timed("blame of a row", lambda: next(blame(directory / "a", "users", keys[0])).lsn, 2)
        timed("history of a row", lambda: len(list(row_history(directory / "a", "users", keys[0]))), 2)
    merges: dict[str, tuple[str, Callable[[int], int], int]] = {
        "merge, disjoint rows": ("UPDATE users SET name = 'ours' WHERE id = ?", lambda key: key + 1, 0),
        "merge, other columns": ("UPDATE users SET name = 'ours' WHERE id = ?", lambda key: key, 0),
        "merge, conflicts": ("UPDATE users SET score = -2 WHERE id = ?", lambda key: key, changed),
    }
    with graft.open_replica(directory / "a") as replica:
        for number, (name, (sql, key_of, conflicts)) in enumerate(merges.items()):
            for attempt in range(rounds):
                branch = f"b{number}-{attempt}"
                timed("branch", partial(_branched, replica, branch), branch)
                graft.switch(replica, branch)
                _update(connection, "UPDATE users SET score = -1 WHERE id = ?", keys)
                connection.pragma("graft_push")
                graft.switch(replica, "a")
                _update(connection, sql, [key_of(key) for key in keys])
                timed(name, partial(_merged, replica, branch), conflicts)
                connection.pragma("graft_pull", "discard")
    connection.close()
    return found


def _branched(replica: graft.Replica, branch: str) -> str:
    return graft.fork(replica, branch).name


def _merged(replica: graft.Replica, branch: str) -> int:
    return len(merge_version(replica, branch, conflicts="ours").merged.conflicts)


def _diffed(directory: Path) -> int:
    with open_diff(directory / "a", 1, 2) as difference:
        return sum(1 for _ in difference.rows())


def _update(connection: apsw.Connection, sql: str, keys: list[int]) -> None:
    with connection:
        connection.executemany(sql, [(key,) for key in keys])


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
