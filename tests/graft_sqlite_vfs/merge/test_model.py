"""Random writers, merges, compactions, collections and restores against a model of rows."""

import random
from contextlib import closing

import pytest

import graft
from graft.operations.compact import compact
from graft.replica.opening import open_replica
from graft_sqlite_vfs import connect

COLUMNS = ("a", "b", "c")
SEEDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(6, 150))]


def merged(base, ours, theirs, policy):
    """The rows of a three-way merge, by the rules of docs/adr/0030, written anew; conflicts as ``policy`` says."""
    result = dict(theirs)
    conflicts = 0
    for key in {*base, *ours}:
        was, mine, other = base.get(key), ours.get(key), theirs.get(key)
        if mine in (was, other):
            continue
        if other == was:
            value = mine
        elif was and mine and other:
            cells, disagree = list(other), False
            for place in range(len(COLUMNS)):
                if mine[place] != was[place]:
                    disagree |= other[place] not in {was[place], mine[place]}
                    cells[place] = mine[place]
            conflicts += disagree
            value = tuple(cells) if not disagree else mine if policy == "ours" else other
        else:
            conflicts += 1
            value = mine if policy == "ours" else other
        if value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result, conflicts


def content(connection):
    return {row[0]: row[1:] for row in connection.execute("SELECT k, a, b, c FROM t")}


@pytest.mark.parametrize("seed", SEEDS)
def test_three_replicas(volumes, seed):
    choose = random.Random(seed)
    names = ["one", "two", "three"]
    connections = {name: volumes.connect(name, remote="#app") for name in names}
    key_type = choose.choice(["k INTEGER PRIMARY KEY", "k TEXT PRIMARY KEY", "k TEXT PRIMARY KEY COLLATE RTRIM"])
    table = f"CREATE TABLE t({key_type}, a, b, c){choose.choice(['', ' WITHOUT ROWID'])}"
    connections["one"].execute(table)
    connections["one"].pragma("graft_push")
    replicas = {name: open_replica(volumes.directory / name) for name in names}
    try:
        for replica in replicas.values():
            graft.pull(replica)
        remote, rows = [{}, {}], {name: {} for name in names}
        base = dict.fromkeys(names, 1)
        for _ in range(40):
            name = choose.choice(names)
            connection, replica, step = connections[name], replicas[name], choose.random()
            if step < 0.5:
                _write(choose, connection, integer="INTEGER" in key_type)
                rows[name] = content(connection)
            elif step < 0.85:
                policy = choose.choice(["ours", "theirs"])
                if base[name] == len(remote) - 1:
                    assert graft.pull(replica, policy="merge").merged is None
                else:
                    expected, conflicts = merged(remote[base[name]], rows[name], remote[-1], policy)
                    pending = bool(replica.view().pending)
                    done = graft.pull(replica, policy="merge", conflicts=policy)
                    assert content(connection) == expected
                    assert (len(done.merged.conflicts) if pending else 0) == conflicts
                    rows[name], base[name] = expected, len(remote) - 1
                if choose.random() < 0.8 and graft.push(replica).after == len(remote):
                    remote.append(rows[name])
                    base[name] = len(remote) - 1
            elif step < 0.93 and base[name] == len(remote) - 1 and not replica.view().pending:
                if compact(replica).after == len(remote):
                    remote.append(remote[-1])
                    base[name] += 1
            elif base[name]:
                lsn = choose.randint(min(base.values()), len(remote) - 1)
                with closing(connect(volumes.directory / name, at=lsn)) as past:
                    assert content(past) == remote[lsn], "time travel"
            if choose.random() < 0.1:
                graft.collect(replica.store_url, keep_last=len(remote) - min(base.values()), grace_s=0)
        for connection in connections.values():
            assert connection.pragma("integrity_check") == "ok"
    finally:
        for replica in replicas.values():
            replica.close()


def _write(choose, connection, *, integer):
    for _ in range(choose.choice([1, 1, 12])):
        number = choose.randint(1, 25)
        key = number if integer else f"k{number}"
        kind = choose.random()
        if kind < 0.4:
            values = [choose.choice([None, number, "x" * choose.choice([1, 3000]), 1.5]) for _ in COLUMNS]
            connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?, ?, ?)", (key, *values))
        elif kind < 0.8:
            column = choose.choice(COLUMNS)
            connection.execute(f"UPDATE t SET {column} = ? WHERE k = ?", (choose.randint(0, 9), key))
        else:
            connection.execute("DELETE FROM t WHERE k = ?", (key,))
