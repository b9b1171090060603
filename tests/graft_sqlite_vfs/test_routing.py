"""Which files SQLite makes, and where: nothing but volumes in and beside a replica."""

import sqlite3
import tempfile

import apsw
import pytest

from graft_sqlite_vfs import vfs
from graft_sqlite_vfs.file import VolumeFile
from tests.graft_sqlite_vfs.conftest import fill, integrity, rows, spilling


def around(volumes, name: str = "db") -> set[str]:
    """The files in and beside the replica, but for the journal's, which come and go."""
    return {
        str(path.relative_to(volumes.directory))
        for path in volumes.directory.rglob("*")
        if path.parent.name not in {"journal", "cache"}
    }


@pytest.fixture
def opened(monkeypatch) -> list[tuple[int, object]]:
    """Kinds of files that SQLite asks for, and what it gets; on the pure path, since the other asks no Python."""
    seen: list[tuple[int, object]] = []
    original = vfs.GraftVFS.xOpen

    def spy(self, name, flags):
        file = original(self, name, flags)
        seen.append((flags[0] & 0xFFF00, file))
        return file

    monkeypatch.setattr(vfs.GraftVFS, "xOpen", spy)
    return seen


def test_big_sorts_go_to_temporary_files(db, volumes, opened, read_path):
    fill(db, 3000, size=1000)
    before, commits = around(volumes), volumes.commits()
    db.execute("PRAGMA cache_size=10; PRAGMA temp_store=FILE")
    result = rows(db, "SELECT id FROM t ORDER BY v DESC, id")
    assert len(result) == 3003
    assert opened or read_path != "pure"
    assert not any(isinstance(file, VolumeFile) for _, file in opened)
    assert around(volumes) == before
    assert volumes.commits() == commits


def test_temporary_tables_stay_outside(db, volumes, opened, read_path):
    before, commits = around(volumes), volumes.commits()
    db.execute("PRAGMA temp_store=FILE; CREATE TEMP TABLE x(id INTEGER PRIMARY KEY, v); PRAGMA temp.cache_size=5")
    fill(db, 2000, table="temp.x")
    db.execute("CREATE TEMP TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO x(v) VALUES (new.v); END")
    assert volumes.commits() == commits
    db.execute("INSERT INTO t VALUES (4, 'four')")
    assert volumes.commits() == commits + 1
    assert around(volumes) == before
    assert not any(isinstance(file, VolumeFile) for _, file in opened)


def test_temporary_directory_is_used_and_left_clean(db, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("SQLITE_TMPDIR", str(scratch))
    db.execute("PRAGMA temp_store=FILE; PRAGMA cache_size=5")
    fill(db, 1000)
    rows(db, "SELECT * FROM t ORDER BY v")
    assert list(scratch.iterdir()) == []
    assert tempfile.gettempdir() != str(tmp_path)


def test_no_journal_is_made_or_found(db, volumes, opened, read_path):
    before = around(volumes)
    spilling(db)
    with db:
        fill(db, 500)
        assert around(volumes) == before
    for name in ("db-journal", "db-wal"):
        (volumes.directory / name).write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" * 100)
    other = volumes.connect()
    other.execute("INSERT INTO t VALUES (4000, 'x')")
    integrity(other)
    for name in ("db-journal", "db-wal"):
        assert (volumes.directory / name).stat().st_size == 800  # not ours, so left alone
    assert opened or read_path != "pure"


def test_attached_volumes_keep_their_journal_in_a_temporary_file(db, volumes, opened, read_path):
    volumes.connect("other", remote="#other").execute("CREATE TABLE o(id INTEGER PRIMARY KEY, v)")
    before = around(volumes)
    db.execute("ATTACH ? AS other", (str(volumes.path("other")),))
    opened.clear()
    with db:
        db.execute("PRAGMA other.cache_size=5; INSERT INTO t VALUES (4, 'four')")
        fill(db, 500, table="other.o")
        db.execute("UPDATE o SET v = 'x' || v")
        assert around(volumes) == before
    assert apsw.SQLITE_OPEN_MAIN_JOURNAL in {kind for kind, _ in opened} or read_path != "pure"
    assert rows(volumes.connect("other", remote="#other"), "SELECT count(*) FROM o WHERE v LIKE 'x%'") == [(500,)]


def test_plain_files_are_named_with_their_vfs(db, tmp_path):
    plain = tmp_path / "plain.db"
    with sqlite3.connect(plain) as made:
        made.execute("CREATE TABLE p(v)")
    made.close()
    with pytest.raises(apsw.CantOpenError, match=r"not a replica.*file:plain.db\?vfs=unix"):
        db.execute("ATTACH ? AS plain", (str(plain),))
    db.execute(f"ATTACH 'file:{plain}?vfs=unix' AS plain")
    db.execute("INSERT INTO plain.p SELECT v FROM t")
    assert rows(db, "SELECT count(*) FROM p") == [(3,)]
    db.execute("DETACH plain")


def test_vacuum_into_a_plain_file(db, tmp_path):
    with pytest.raises(apsw.CantOpenError, match="vfs=unix"):
        db.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    db.execute("VACUUM INTO ?", (f"file:{tmp_path / 'copy.db'}?vfs=unix",))
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT count(*) FROM t").fetchall() == [(3,)]
    copy.close()


def test_vacuum_into_an_empty_volume(db, volumes):
    target = volumes.connect("target", remote="#target")
    db.execute("VACUUM INTO ?", (str(volumes.path("target")),))
    assert rows(target, "SELECT count(*) FROM t") == [(3,)]
    with pytest.raises(apsw.SQLError, match="already exists"):
        db.execute("VACUUM INTO ?", (str(volumes.path("target")),))


def test_transactions_over_volumes_and_plain_files(db, volumes, tmp_path):
    for name in ("p1", "p2"):
        db.execute(f"ATTACH 'file:{tmp_path / name}?vfs=unix' AS {name}")
        db.execute(f"CREATE TABLE {name}.x(v)")
    with db:
        for table in ("p1.x(v)", "p2.x(v)", "t(v)"):
            db.execute(f"INSERT INTO {table} VALUES ('together')")
    assert rows(db, "SELECT (SELECT count(*) FROM p1.x), (SELECT count(*) FROM p2.x)") == [(1, 1)]
    assert [path.name for path in tmp_path.iterdir() if "-mj" in path.name or "journal" in path.name] == []


def test_super_journals_keep_their_name(volumes, tmp_path):
    # Their name stands in the journals of the plain files, and decides what a crash leaves of them.
    flags = [apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_READWRITE, 0]
    path = tmp_path / "db-mj123456"
    file = vfs.VFS.xOpen(str(path), flags)
    assert path.exists()
    file.xWrite(b"names of journals", 0)
    assert vfs.VFS.xAccess(str(path), apsw.SQLITE_ACCESS_EXISTS)
    file.xClose()
    vfs.VFS.xDelete(str(path), False)
    assert not path.exists()


def test_memory_databases_can_be_attached(db):
    db.execute("ATTACH ':memory:' AS m; CREATE TABLE m.x(v); INSERT INTO m.x SELECT v FROM t")
    assert rows(db, "SELECT count(*) FROM m.x") == [(3,)]
    db.execute("DETACH m")
