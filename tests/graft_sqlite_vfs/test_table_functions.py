"""graft_diff in SQL."""

import apsw
import pytest

from graft_sqlite_vfs import diff_rows, open_diff

USERS = "CREATE TABLE users(id INTEGER PRIMARY KEY, name, photo); CREATE TABLE other(a, b, PRIMARY KEY (a, b))"


@pytest.fixture
def users(volumes):
    connection = volumes.connect("db")
    connection.execute(f"{USERS}; INSERT INTO users VALUES (1, 'one', x'00ff'), (2, 'two', NULL)")
    connection.pragma("graft_push")
    connection.execute("UPDATE users SET name = 'uno' WHERE id = 1; DELETE FROM users WHERE id = 2")
    connection.execute("INSERT INTO users VALUES (3, 'three', NULL); INSERT INTO other VALUES ('x', 2)")
    return connection


def test_the_function(users):
    users.pragma("graft_push")
    query = "SELECT change, key, before ->> 'name', after ->> 'name' FROM graft_diff('users', 1, 2)"
    expected = [("update", 1, "one", "uno"), ("delete", 2, "two", None), ("insert", 3, None, "three")]
    assert users.execute(query).fetchall() == expected
    assert users.execute("SELECT changed FROM graft_diff('users', 1, 2) WHERE change = 'update'").get == '["name"]'
    assert (
        users.execute("SELECT before -> 'photo' FROM graft_diff('users', 1, 2) WHERE key = 1").get == '{"blob":"00ff"}'
    )
    assert users.execute("SELECT key FROM graft_diff('other', 1, 2)").get == '["x", 2]'
    assert users.execute("SELECT count(*) FROM graft_diff('users', 2, 1) WHERE change = 'insert'").get == 1
    assert users.execute("SELECT count(*) FROM graft_diff('users', 2, 2)").get == 0


def test_the_defaults_show_what_is_not_pushed(users):
    assert users.execute("SELECT count(*) FROM graft_diff('users')").get == 3
    assert users.execute("SELECT count(*) FROM graft_diff('users', 1)").get == 3
    users.pragma("graft_push")
    assert users.execute("SELECT count(*) FROM graft_diff('users')").get == 0


def test_versions_that_come_from_a_join(users):
    users.pragma("graft_push")
    query = (
        "WITH versions(older, newer) AS (VALUES (0, 1), (1, 2)) "
        "SELECT newer, count(*) FROM versions, graft_diff('users', older, newer) GROUP BY newer"
    )
    assert users.execute(query).fetchall() == [(1, 2), (2, 3)]


def test_the_virtual_table_has_the_columns_of_both_sides(users):
    users.pragma("graft_push")
    users.execute("CREATE VIRTUAL TABLE temp.changed USING graft_diff(users, 1, 2)")
    cursor = users.execute("SELECT * FROM changed WHERE change = 'update'")
    assert [name for name, _ in cursor.get_description()] == [
        "change", "before_id", "after_id", "before_name", "after_name", "before_photo", "after_photo",
    ]  # fmt: skip
    assert cursor.fetchall() == [("update", 1, 1, "one", "uno", b"\0\xff", b"\0\xff")]
    users.execute("CREATE VIRTUAL TABLE temp.other_changed USING graft_diff('other')")
    assert users.execute("SELECT count(*) FROM other_changed").get == 0


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM graft_diff('nobody', 1, 2)", "no table nobody"),
        ("SELECT * FROM graft_diff('users', 1, 77)", "not 77"),
        ("SELECT * FROM graft_diff('users', 'nothing', 2)", "nothing"),
        ("SELECT * FROM graft_diff(5, 1, 2)", "needs the name of a table"),
        ("SELECT * FROM graft_diff", "needs the name of a table"),
        ("CREATE VIRTUAL TABLE temp.x USING graft_diff(nobody, 1, 2)", "no table nobody"),
        ("CREATE VIRTUAL TABLE temp.x USING graft_diff(users, 1, 2, 3)", "takes a table and two versions"),
    ],
)
def test_wrong_arguments(users, query, words):
    users.pragma("graft_push")
    with pytest.raises(apsw.Error, match=words):
        users.execute(query).fetchall()
    assert users.execute("SELECT count(*) FROM users").get == 2


def test_from_python(users, volumes):
    assert [(row.kind, row.key) for row in diff_rows(volumes.directory / "db", tables=["users"])] == [
        ("update", (1,)), ("delete", (2,)), ("insert", (3,)),
    ]  # fmt: skip
    with open_diff(volumes.directory / "db", 0, 1) as difference:
        assert [change.name for change in difference.schema] == ["other", "users"]
        assert difference.changed_tables() == ["users"]


def test_history_blame_and_changes(users):
    users.pragma("graft_push")
    query = "SELECT lsn, value ->> 'name' FROM graft_history('users', 1)"
    assert users.execute(query).fetchall() == [(2, "uno"), (1, "one")]
    assert users.execute("SELECT value FROM graft_history('other', 'x', 2)").get == '{"a": "x", "b": 2}'
    assert dict(users.execute("SELECT key, lsn FROM graft_blame('users')")) == {1: 2, 3: 2}
    assert users.execute("SELECT lsn FROM graft_blame('users', 1)").get == 2
    found = users.execute("SELECT \"table\", change, key FROM graft_changes(1) WHERE change <> 'insert'").fetchall()
    assert found == [("users", "update", 1), ("users", "delete", 2)]
    assert users.execute("SELECT count(*) FROM graft_changes WHERE change = 'schema'").get == 2
    assert users.execute("SELECT time FROM graft_changes(1) LIMIT 1").get.endswith("+00:00")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM graft_history('users')", "a table and a key"),
        ("SELECT * FROM graft_blame", "needs the name of a table"),
        ("SELECT * FROM graft_blame('users', 99)", "no row 99"),
        ("SELECT * FROM graft_changes(77)", "not 77"),
        ("SELECT * FROM graft_changes('nothing')", "nothing"),
        ("CREATE VIRTUAL TABLE temp.x USING graft_blame(users)", "graft_blame is a function"),
    ],
)
def test_wrong_arguments_of_others(users, query, words):
    users.pragma("graft_push")
    with pytest.raises(apsw.Error, match=words):
        users.execute(query).fetchall()
