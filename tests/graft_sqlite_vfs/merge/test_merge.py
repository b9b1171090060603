"""Merging rows that two replicas wrote at the same time."""

import json

import apsw
import pytest

import graft
from graft.operations.log import log_entries
from graft_sqlite_vfs.merge import Take

USERS = """
    CREATE TABLE users(id INTEGER PRIMARY KEY, name, score);
    INSERT INTO users VALUES (1, 'one', 0), (2, 'two', 0), (3, 'three', 0);
"""


def test_disjoint_rows_and_columns(pair):
    pair.start(USERS)
    pair.part(
        "UPDATE users SET name = 'ONE' WHERE id = 1; DELETE FROM users WHERE id = 2; "
        "INSERT INTO users VALUES (10, 'a', 1)",
        "UPDATE users SET score = 7 WHERE id = 1; UPDATE users SET name = 'THREE' WHERE id = 3; "
        "INSERT INTO users VALUES (11, 'b', 2)",
    )
    done = pair.merge().merged
    assert (done.inserted, done.updated, done.deleted, done.combined, done.conflicts) == (1, 1, 1, 1, ())
    assert done.tables == {"users": 3}
    assert pair.rows("SELECT * FROM users") == [(1, "ONE", 7), (3, "THREE", 0), (10, "a", 1), (11, "b", 2)]


def test_the_merge_is_one_local_commit_that_names_both_parents(pair):
    pair.start(USERS)
    pair.part("UPDATE users SET score = 1 WHERE id = 1", "UPDATE users SET score = 2 WHERE id = 2")
    pair.ours.execute("UPDATE users SET score = 3 WHERE id = 3")
    pair.merge()
    assert [commit.local_lsn for commit in pair.replica.view().pending] == [6]
    assert graft.push(pair.replica).after == 3
    chain = pair.replica.view().state.chain
    assert json.loads(chain[0].commit.attributes["merged"]) == [{"lsn": 2, "base": 1, "local_commits": 2}]
    assert pair.replica.view().state.merges == ()


def test_the_same_change_on_both_sides_is_none(pair):
    pair.start(USERS)
    change = (
        "UPDATE users SET score = 5 WHERE id = 1; DELETE FROM users WHERE id = 2; INSERT INTO users VALUES (9, 'x', 1)"
    )
    pair.part(change, change)
    done = pair.merge().merged
    assert (done.same, done.tables, done.conflicts) == (3, {}, ())
    assert graft.push(pair.replica).after == 2, "there is nothing to push"
    assert pair.rows("SELECT count(*), sum(score) FROM users") == [(3, 6)]


CONFLICTS = [
    # kind, ours, theirs, the row if ours wins, the row if theirs wins
    ("changed", "UPDATE users SET score = 1 WHERE id = 1", "UPDATE users SET score = 2 WHERE id = 1",
     (1, "one", 1), (1, "one", 2)),
    ("deleted", "UPDATE users SET score = 1 WHERE id = 1", "DELETE FROM users WHERE id = 1", (1, "one", 1), None),
    ("deleted", "DELETE FROM users WHERE id = 1", "UPDATE users SET score = 2 WHERE id = 1", None, (1, "one", 2)),
    ("inserted", "INSERT INTO users VALUES (8, 'ours', 1)", "INSERT INTO users VALUES (8, 'theirs', 2)",
     (8, "ours", 1), (8, "theirs", 2)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "ours", "theirs", "our_row", "their_row"), CONFLICTS)
@pytest.mark.parametrize("policy", ["fail", "ours", "theirs", "record", "callable"])
def test_conflicts_of_rows(pair, kind, ours, theirs, our_row, their_row, policy):
    pair.start(USERS)
    pair.part(f"{ours}; UPDATE users SET name = 'ours too' WHERE id = 3", theirs)
    key = 8 if kind == "inserted" else 1
    seen = []
    decided = Take({"id": key, "name": "both", "score": 3})
    if policy == "fail":
        before = pair.ours.execute("SELECT * FROM users").fetchall()
        with pytest.raises(graft.MergeConflict, match=f"users {key} \\({kind}\\).*Nothing was changed") as raised:
            pair.merge()
        assert [(one.table, one.key, one.kind) for one in raised.value.conflicts] == [("users", (key,), kind)]
        assert pair.ours.execute("SELECT * FROM users").fetchall() == before
        assert len(pair.replica.view().pending) == 2
        return
    conflicts = policy if policy != "callable" else lambda conflict: seen.append(conflict) or decided
    done = pair.merge(conflicts).merged
    assert [(one.table, one.key, one.kind) for one in done.conflicts] == [("users", (key,), kind)]
    expected = {"ours": our_row, "theirs": their_row, "record": their_row, "callable": (key, "both", 3)}[policy]
    assert pair.rows(f"SELECT * FROM users WHERE id = {key}") == ([expected] if expected else [])
    assert pair.rows("SELECT name FROM users WHERE id = 3") == [("ours too",)]
    if policy == "callable":
        assert [one.kind for one in seen] == [kind]
        assert (seen[0].base is None) == (kind == "inserted")
    if policy == "record":
        recorded = pair.rows('SELECT "table", "key", kind, base, ours, theirs FROM graft_conflicts')
        assert [row[:3] for row in recorded] == [("users", f"[{key}]", kind)]
        for text, row in zip(recorded[0][4:], (our_row, their_row), strict=True):
            assert (None if text is None else tuple(json.loads(text).values())) == row


def test_a_unique_value_that_both_sides_took(pair):
    pair.start("CREATE TABLE t(id INTEGER PRIMARY KEY, email UNIQUE); INSERT INTO t VALUES (1, 'a')")
    pair.part("INSERT INTO t VALUES (2, 'x')", "INSERT INTO t VALUES (3, 'x')")
    with pytest.raises(graft.MergeConflict, match="unique"):
        pair.merge()
    conflict = pair.merge("ours").merged.conflicts[0]
    assert (conflict.kind, conflict.ours, conflict.theirs) == (
        "unique", {"id": 2, "email": "x"}, {"id": 3, "email": "x"},
    )  # fmt: skip
    assert pair.rows("SELECT * FROM t") == [(1, "a"), (2, "x")]


def test_a_unique_value_that_both_sides_took_stays_theirs(pair):
    pair.start("CREATE TABLE t(id INTEGER PRIMARY KEY, email UNIQUE); INSERT INTO t VALUES (1, 'a')")
    pair.part("UPDATE t SET email = 'x' WHERE id = 1", "INSERT INTO t VALUES (3, 'x')")
    pair.merge("theirs")
    assert pair.rows("SELECT * FROM t") == [(1, "a"), (3, "x")]


def test_unique_values_that_one_side_swapped(pair):
    pair.start("CREATE TABLE t(id INTEGER PRIMARY KEY, place UNIQUE); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    pair.part(
        "UPDATE t SET place = 'c' WHERE id = 1; UPDATE t SET place = 'a' WHERE id = 2; "
        "UPDATE t SET place = 'b' WHERE id = 1",
        "INSERT INTO t VALUES (3, 'z')",
    )
    assert pair.merge().merged.conflicts == ()
    assert pair.rows("SELECT * FROM t") == [(1, "b"), (2, "a"), (3, "z")]


REFERENCES = """
    CREATE TABLE parent(id INTEGER PRIMARY KEY, name);
    CREATE TABLE child(id INTEGER PRIMARY KEY, parent REFERENCES parent(id));
    INSERT INTO parent VALUES (1, 'a'), (2, 'b');
"""


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("policy", ["fail", "ours", "theirs"])
def test_a_foreign_key_to_a_row_that_the_other_side_deleted(pair, swapped, policy):
    pair.start(REFERENCES)
    sides = ["INSERT INTO child VALUES (7, 1)", "DELETE FROM parent WHERE id = 1"]
    pair.part(*reversed(sides)) if swapped else pair.part(*sides)
    if policy == "fail":
        with pytest.raises(graft.MergeConflict, match="foreign key"):
            pair.merge()
        return
    assert [one.kind for one in pair.merge(policy).merged.conflicts] == ["foreign key"]
    assert pair.ours.execute("PRAGMA foreign_key_check").fetchall() == []
    keeps_child = (policy == "ours") != swapped
    assert pair.rows("SELECT id FROM child") == ([(7,)] if keeps_child else [])
    assert pair.rows("SELECT id FROM parent") == ([(1,), (2,)] if keeps_child else [(2,)])


def test_tables_without_a_key_are_bags(pair):
    pair.start("CREATE TABLE log(line); INSERT INTO log VALUES ('a'), ('a'), ('b')")
    pair.part(
        "INSERT INTO log VALUES ('ours'); DELETE FROM log WHERE rowid = 1",
        "INSERT INTO log VALUES ('theirs'), ('theirs too')",
    )
    assert pair.merge().merged.conflicts == ()
    assert sorted(pair.rows("SELECT line FROM log")) == [("a",), ("b",), ("ours",), ("theirs",), ("theirs too",)]


def test_triggers_do_not_fire_again(pair):
    pair.start(
        "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE audit(id TEXT PRIMARY KEY) WITHOUT ROWID;"
        "CREATE TRIGGER noted AFTER INSERT ON t "
        "BEGIN INSERT INTO audit VALUES (new.id || '-' || hex(randomblob(4))); END"
    )
    pair.part("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)")
    pair.merge()
    assert [row[0][:2] for row in pair.rows("SELECT id FROM audit ORDER BY id")] == ["1-", "2-"]


def test_full_text_indexes_and_trees_of_boxes(pair):
    pair.start(
        "CREATE VIRTUAL TABLE notes USING fts5(text); CREATE VIRTUAL TABLE boxes USING rtree(id, low, high);"
        "INSERT INTO notes VALUES ('common'); INSERT INTO boxes VALUES (1, 0, 1);"
        "CREATE TABLE page(id INTEGER PRIMARY KEY, text); "
        "CREATE VIRTUAL TABLE found USING fts5(text, content='page', content_rowid='id');"
    )
    pair.part(
        "INSERT INTO notes VALUES ('from ours'); INSERT INTO boxes VALUES (2, 5, 6);"
        "INSERT INTO page VALUES (1, 'ours'); INSERT INTO found(rowid, text) VALUES (1, 'ours')",
        "INSERT INTO notes VALUES ('from theirs'); INSERT INTO boxes VALUES (3, 5, 7);"
        "UPDATE boxes SET high = 2 WHERE id = 1;"
        "INSERT INTO page VALUES (2, 'theirs'); INSERT INTO found(rowid, text) VALUES (2, 'theirs')",
    )
    assert pair.merge().merged.conflicts == ()
    assert sorted(pair.rows("SELECT text FROM notes('from')")) == [("from ours",), ("from theirs",)]
    assert pair.rows("SELECT id FROM boxes WHERE low >= 5 ORDER BY id") == [(2,), (3,)]
    assert pair.rows("SELECT rowid FROM found('ours OR theirs') ORDER BY rowid") == [(1,), (2,)]
    pair.ours.execute("INSERT INTO notes(notes) VALUES ('integrity-check')")


def test_definitions(pair):
    pair.start(USERS)
    pair.part(
        "ALTER TABLE users ADD COLUMN age; UPDATE users SET age = 30 WHERE id = 1; CREATE INDEX by_name ON users(name);"
        "CREATE TABLE extra(x PRIMARY KEY); INSERT INTO extra VALUES (1)",
        "ALTER TABLE users ADD COLUMN city DEFAULT 'Paris'; UPDATE users SET city = 'Rome' WHERE id = 1",
    )
    assert pair.merge().merged.conflicts == ()
    assert pair.rows("SELECT id, city, age FROM users") == [(1, "Rome", 30), (2, "Paris", None), (3, "Paris", None)]
    assert pair.rows("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL") == [("by_name",)]
    assert pair.rows("SELECT * FROM extra") == [(1,)]


def test_renamed_and_dropped_columns_keep_their_rows(pair):
    pair.start(USERS)
    pair.part(
        "ALTER TABLE users RENAME COLUMN name TO title",
        "UPDATE users SET name = 'uno' WHERE id = 1; CREATE INDEX by_score ON users(score)",
    )
    assert pair.merge().merged.conflicts == ()
    assert pair.rows("SELECT id, title FROM users") == [(1, "uno"), (2, "two"), (3, "three")]
    pair.part("ALTER TABLE users DROP COLUMN title", "UPDATE users SET score = 4 WHERE id = 2")
    pair.merge()
    assert pair.rows("SELECT * FROM users") == [(1, 0), (2, 4), (3, 0)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ALTER TABLE users RENAME COLUMN name TO title", "ALTER TABLE users RENAME COLUMN name TO label"),
        ("DROP TABLE users", "UPDATE users SET score = 1"),
        ("UPDATE users SET score = 1 WHERE id = 1", "DROP TABLE users"),
    ],
)
def test_definitions_that_conflict(pair, ours, theirs):
    pair.start(USERS)
    pair.part(ours, theirs)
    with pytest.raises(graft.MergeConflict) as raised:
        pair.merge()
    assert {one.kind for one in raised.value.conflicts} == {"schema"}
    assert pair.merge("theirs").merged.conflicts
    assert (
        pair.ours.execute("SELECT count(*) FROM sqlite_schema").get
        == pair.theirs.execute("SELECT count(*) FROM sqlite_schema").get
    )


def test_counters_of_autoincrement_go_on_from_the_higher_one(pair):
    pair.start("CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO t(x) VALUES (0)")
    pair.part(
        "INSERT INTO t VALUES (50, 1); DELETE FROM t WHERE id = 50; INSERT INTO t VALUES (20, 1)",
        "INSERT INTO t VALUES (30, 2)",
    )
    pair.merge()
    assert pair.rows("SELECT id FROM t") == [(1,), (20,), (30,)]
    assert pair.rows("SELECT seq FROM sqlite_sequence") == [(50,)]


def test_nothing_to_merge(pair):
    pair.start(USERS)
    assert pair.merge().merged is None
    pair.ours.execute("UPDATE users SET score = 1 WHERE id = 1")
    assert pair.merge().merged is None, "the remote has nothing new"
    assert len(pair.replica.view().pending) == 1
    pair.theirs.execute("SELECT 1")
    graft.push(pair.replica)
    assert graft.pull(pair.other, policy="merge").after == 2


def test_merges_again_and_again(pair):
    pair.start(USERS)
    for number in range(1, 6):
        pair.part(
            f"INSERT INTO users VALUES ({100 + number}, 'o', 0)", f"INSERT INTO users VALUES ({200 + number}, 't', 0)"
        )
        pair.merge()
        pair.ours.execute("UPDATE users SET score = score + 1 WHERE id = 1")
        assert pair.rows("SELECT count(*) FROM users") == [(3 + 2 * number,)]
    assert pair.rows("SELECT score FROM users WHERE id = 1") == [(5,)]
    assert len(list(log_entries(pair.replica))) == 11


def test_wrong_policies(pair):
    pair.start(USERS)
    pair.part("DELETE FROM users WHERE id = 1", "DELETE FROM users WHERE id = 2")
    with pytest.raises(graft.BadRequest, match="no such policy for conflicts: 'maybe'"):
        pair.merge("maybe")
    assert len(pair.replica.view().pending) == 1


def test_pragmas(pair):
    pair.start(USERS)
    pair.part("UPDATE users SET score = 1 WHERE id = 1", "UPDATE users SET score = 2 WHERE id = 1")
    with pytest.raises(apsw.AbortError, match="users 1"):
        pair.ours.pragma("graft_merge")
    with pytest.raises(apsw.SQLError, match="graft_pull takes"):
        pair.ours.pragma("graft_pull", "mingle")
    assert "merged: 0 rows inserted, 1 updated" in pair.ours.pragma("graft_pull", "merge:ours")
    assert pair.rows("SELECT score FROM users WHERE id = 1") == [(1,)]
    pair.part("UPDATE users SET score = 5 WHERE id = 2", "UPDATE users SET score = 6 WHERE id = 3")
    assert "merged" in pair.ours.pragma("graft_merge")
    assert pair.rows("SELECT score FROM users") == [(1,), (5,), (6,)]
