"""Plain SQLite databases in and out, byte for byte."""

import sqlite3
import tempfile
import threading

import apsw
import pytest

from graft.errors import BadRequest, GraftError, LocalStorageError, WriterBusy
from graft.operations.transfer import import_file, require_no_newer_changes
from graft.replica.opening import open_replica
from graft.sync.push import push
from graft_sqlite_vfs import database_page_size, import_database
from tests.graft_sqlite_vfs.conftest import rows


def plain(path, *, page_size: int = 4096, wal: bool = False, count: int = 500):
    made = apsw.Connection(str(path))
    made.execute(f"PRAGMA page_size={page_size}; CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    if wal:
        made.pragma("journal_mode", "wal")
    with made:
        made.executemany("INSERT INTO t(v) VALUES (?)", [(f"row {n}" * 20,) for n in range(count)])
    return made


@pytest.fixture
def source(tmp_path):
    plain(tmp_path / "plain.db").close()
    return tmp_path / "plain.db"


@pytest.fixture
def empty(volumes):
    volumes.connect().close()
    return volumes.replica()


def exported(volumes, tmp_path, name: str = "db") -> bytes:
    path = tmp_path / f"{name}-out.db"
    with open_replica(volumes.path(name)) as replica:
        from graft.operations.transfer import export_file

        export_file(replica.snapshot(), path)
    return path.read_bytes()


def test_there_and_back(empty, volumes, source, tmp_path):
    progress = []
    result = import_database(empty, source, progress=lambda *args: progress.append(args))
    assert (result.bytes, result.pages) == (source.stat().st_size, source.stat().st_size // 4096)
    assert progress[-1] == (result.bytes, result.bytes)
    assert volumes.commits() == 1
    db = volumes.connect()
    assert rows(db, "SELECT count(*) FROM t") == [(500,)]
    assert exported(volumes, tmp_path) == source.read_bytes()
    db.execute("INSERT INTO t(v) VALUES ('more')")
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(501,)]
    assert volumes.commits() == 2


def test_a_wal_database_stays_as_it_is_until_it_is_written(empty, volumes, tmp_path):
    path = tmp_path / "wal.db"
    plain(path, wal=True).close()
    before = {name.name for name in tmp_path.iterdir()}
    original = path.read_bytes()
    assert original[18:20] == b"\2\2"
    import_database(empty, path)
    assert path.read_bytes() == original
    assert {name.name for name in tmp_path.iterdir()} == before
    db = volumes.connect()
    assert db.pragma("journal_mode") == "memory"
    assert rows(db, "SELECT count(*) FROM t") == [(500,)]
    db.execute("BEGIN IMMEDIATE; ROLLBACK")
    assert exported(volumes, tmp_path) == original
    db.execute("BEGIN; UPDATE t SET v = 1; ROLLBACK; INSERT INTO t(v) VALUES ('more')")
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(501,)]
    stored = bytes(empty.snapshot().read(1))
    assert stored[18:20] == b"\1\1"
    assert int.from_bytes(stored[24:28], "big") == int.from_bytes(original[24:28], "big") + 1


def test_changes_in_the_wal(empty, volumes, tmp_path):
    made = plain(tmp_path / "wal.db", wal=True)
    wal = (tmp_path / "wal.db-wal").read_bytes()
    assert wal
    import_database(empty, tmp_path / "wal.db")
    assert (tmp_path / "wal.db-wal").read_bytes() == wal
    db = volumes.connect()
    assert rows(db, "SELECT count(*) FROM t") == [(500,)]
    db.execute("INSERT INTO t(v) VALUES ('more')")
    assert db.pragma("integrity_check") == "ok"
    assert rows(made, "SELECT count(*) FROM t") == [(500,)]


def test_a_wal_that_nobody_has_open_stays(empty, volumes, tmp_path):
    made = plain(tmp_path / "made.db", wal=True)
    for end in ("", "-wal"):
        (tmp_path / f"left.db{end}").write_bytes((tmp_path / f"made.db{end}").read_bytes())
    made.close()
    wal = (tmp_path / "left.db-wal").read_bytes()
    import_database(empty, tmp_path / "left.db")
    assert (tmp_path / "left.db-wal").read_bytes() == wal
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(500,)]


@pytest.mark.parametrize("where", ["beside", "elsewhere"])
def test_through_a_symbolic_link(empty, volumes, tmp_path, where):
    (tmp_path / "elsewhere").mkdir()
    made = plain(tmp_path / "real.db", wal=True)
    link = tmp_path / "link.db" if where == "beside" else tmp_path / "elsewhere" / "link.db"
    link.symlink_to(tmp_path / "real.db")
    import_database(empty, link)
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(500,)]
    made.close()


def test_through_a_hard_link(empty, volumes, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    made = plain(tmp_path / "real.db", wal=True)
    for link in (tmp_path / "link.db", tmp_path / "elsewhere" / "link.db"):
        link.hardlink_to(tmp_path / "real.db")
    with pytest.raises(BadRequest, match=r"newer changes are in .*real\.db-wal: import real\.db"):
        import_database(empty, tmp_path / "link.db")
    with pytest.raises(BadRequest, match="hard links"):
        import_database(empty, tmp_path / "elsewhere" / "link.db")
    assert volumes.commits() == 0
    import_database(empty, tmp_path / "real.db")
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(500,)]
    made.close()


def test_a_hot_journal(empty, volumes, source, tmp_path):
    """What a killed writer left: half of a transaction in the file, and the journal to take it back."""
    writer = apsw.Connection(str(source))
    writer.execute("PRAGMA cache_size=1; BEGIN; UPDATE t SET v = 'torn'")
    writer.cache_flush()
    for end in ("", "-journal"):
        (tmp_path / f"left.db{end}").write_bytes((tmp_path / f"plain.db{end}").read_bytes())
    writer.execute("ROLLBACK")
    assert b"torn" in (tmp_path / "left.db").read_bytes()
    import_database(empty, tmp_path / "left.db")
    db = volumes.connect()
    assert rows(db, "SELECT count(*) FROM t WHERE v = 'torn'") == [(0,)]
    assert db.pragma("integrity_check") == "ok"
    assert b"torn" not in exported(volumes, tmp_path)


def test_what_would_be_lost_is_not_replaced(empty, volumes, source):
    import_database(empty, source)
    for replace in (False, True):
        with pytest.raises(BadRequest, match="not pushed"):
            import_database(empty, source, replace=replace)
    push(empty)
    with pytest.raises(BadRequest, match="not empty"):
        import_database(empty, source)
    assert volumes.commits() == 0
    import_database(empty, source, replace=True)
    assert volumes.commits() == 1


def test_a_writer_is_kept_out(empty, source):
    writer = apsw.Connection(str(source))
    inside, written = threading.Event(), []

    def progress(done, total):
        inside.set()
        try:
            writer.execute("INSERT INTO t(v) VALUES ('meanwhile')")
        except apsw.BusyError:
            written.append(False)

    import_database(empty, source, progress=progress)
    assert inside.is_set()
    assert written
    writer.execute("INSERT INTO t(v) VALUES ('after')")
    writer.close()


def test_a_locked_database(empty, source):
    writer = apsw.Connection(str(source))
    writer.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BadRequest, match="locked"):
        import_database(empty, source)
    writer.close()


@pytest.mark.parametrize("page_size", [512, 65536])
def test_page_sizes(volumes, tmp_path, page_size):
    path = tmp_path / "plain.db"
    plain(path, page_size=page_size).close()
    assert database_page_size(path) == page_size
    volumes.connect("other", remote="#other").close()
    with pytest.raises(BadRequest, match=f"has pages of {page_size} bytes, volume other has 4096"):
        import_database(volumes.replica("other"), path)
    volumes.connect(page_size=database_page_size(path)).close()
    import_database(volumes.replica(), path)
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(500,)]
    assert exported(volumes, tmp_path) == path.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "not an SQLite database"),
        (b"x" * 8192, "not an SQLite database"),
        (b"SQLite format 3\0" + bytes(84), "page size must be"),
        (b"SQLite format 3\0\x03\xe8" + bytes(1000), "page size must be"),
    ],
)
def test_no_database(empty, volumes, tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadRequest, match=message):
        import_database(empty, tmp_path / "x")
    assert volumes.commits() == 0


def test_no_file(empty, tmp_path):
    with pytest.raises(GraftError, match="nowhere"):
        import_database(empty, tmp_path / "nowhere")


def test_a_torn_file(empty, volumes, source):
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(BadRequest, match=r"whole number of pages|SQLite cannot read"):
        import_database(empty, source)
    assert volumes.commits() == 0


def test_over_a_volume_that_is_in_use(db, volumes, source):
    reader = volumes.connect()
    reader.execute("BEGIN")
    assert rows(reader, "SELECT count(*) FROM t") == [(3,)]
    push(volumes.replica())
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(WriterBusy):
        import_database(volumes.replica(), source, replace=True)
    db.execute("ROLLBACK")
    import_database(volumes.replica(), source, replace=True)
    assert rows(reader, "SELECT count(*) FROM t") == [(3,)]
    assert rows(db, "SELECT count(*) FROM t") == [(500,)]
    reader.execute("COMMIT")
    assert rows(reader, "SELECT count(*) FROM t") == [(500,)]


def test_an_old_database_whose_size_in_pages_is_not_kept(empty, volumes, tmp_path):
    # Before 3.7 the counters at 24 and 92 were left unequal, and the size at 28 was not written.
    path = tmp_path / "old.db"
    plain(path).close()
    data = bytearray(path.read_bytes())
    data[28:32] = (3).to_bytes(4, "big")
    data[92:96] = b"\0\0\0\0"
    path.write_bytes(data)
    import_database(empty, path)
    db = volumes.connect()
    assert db.pragma("page_count") == len(data) // 4096
    assert db.pragma("integrity_check") == "ok"
    db.execute("DELETE FROM t WHERE id > 400; INSERT INTO t(v) VALUES ('new')")
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(401,)]
    db.execute("VACUUM")


def test_with_the_standard_library_as_the_judge(empty, volumes, source, tmp_path):
    import_database(empty, source)
    volumes.connect().execute("UPDATE t SET v = 'new'; VACUUM")
    (tmp_path / "judge.db").write_bytes(exported(volumes, tmp_path))
    with sqlite3.connect(tmp_path / "judge.db") as judge:
        assert judge.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert judge.execute("SELECT DISTINCT v FROM t").fetchall() == [("new",)]
    judge.close()


def test_the_page_size_is_what_sqlite_reads(empty, volumes, source, tmp_path):
    """A killed VACUUM had written pages of another size, which the hot journal takes back."""
    torn, original = tmp_path / "left.db", source.read_bytes()
    writer = apsw.Connection(str(source))
    writer.execute("PRAGMA cache_size=1; BEGIN; UPDATE t SET v = 'torn'; PRAGMA user_version = 1")
    writer.cache_flush()
    for end in ("", "-journal"):
        (tmp_path / f"left.db{end}").write_bytes((tmp_path / f"plain.db{end}").read_bytes())
    writer.execute("ROLLBACK")
    content = bytearray(torn.read_bytes())
    content[16:18] = (512).to_bytes(2, "big")
    torn.write_bytes(content)
    assert database_page_size(torn) == 4096
    assert torn.read_bytes() == original
    import_database(empty, torn)
    assert rows(volumes.connect(), "SELECT count(*) FROM t") == [(500,)]


def test_bytes_alone_are_not_taken_while_changes_lie_beside_them(source, tmp_path, empty):
    made = plain(tmp_path / "wal.db", wal=True)
    (tmp_path / "link").symlink_to(tmp_path / "wal.db")
    for path in (tmp_path / "wal.db", tmp_path / "link"):
        with pytest.raises(BadRequest, match="without --raw"):
            require_no_newer_changes(path)
        with pytest.raises(BadRequest, match=r"newest changes.*wal\.db-wal.*import_database"):
            import_file(empty, path)
    assert empty.snapshot().page_count == 0
    made.close()
    require_no_newer_changes(tmp_path / "wal.db")
    (tmp_path / "plain.db-journal").write_bytes(bytes(512))  # as journal_mode=PERSIST leaves it
    require_no_newer_changes(source)
    (tmp_path / "plain.db-journal").write_bytes(b"\xd9\xd5\x05\xf9" + bytes(508))
    with pytest.raises(BadRequest, match=r"plain\.db-journal"):
        require_no_newer_changes(source)
    (tmp_path / "film").write_bytes(b"no database")
    (tmp_path / "film-journal").write_bytes(b"a diary")
    require_no_newer_changes(tmp_path / "film")


def test_no_room_for_the_copy_of_a_wal(empty, tmp_path, monkeypatch):
    made = plain(tmp_path / "wal.db", wal=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(LocalStorageError, match="temporary directory"):
        import_database(empty, tmp_path / "wal.db")
    made.close()
