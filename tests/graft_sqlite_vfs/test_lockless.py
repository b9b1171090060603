"""URI parameters that make SQLite read without locks: refused, but for one version of the past."""

import apsw
import pytest

from tests.graft_sqlite_vfs.conftest import rows

COUNT = "SELECT count(*) FROM t"
URI = apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READWRITE


@pytest.mark.parametrize(
    "parameter",
    ["immutable=1", "immutable=yes", "nolock=1", "nolock=on", "immutable=1&nolock=2", "immutable=1x", "nolock=0x1"],
)
def test_it_is_refused(db, volumes, parameter):
    with pytest.raises(apsw.CantOpenError, match="open it with `at`"):
        apsw.Connection(f"file:{volumes.path()}?vfs=graft&{parameter}", flags=URI)
    plain = apsw.Connection(":memory:", flags=URI)
    with pytest.raises(apsw.CantOpenError, match="open it with `at`"):
        plain.execute("ATTACH ? AS v", (f"file:{volumes.path()}?vfs=graft&{parameter}",))
    plain.close()
    assert rows(db, COUNT) == [(3,)]


@pytest.mark.parametrize("parameter", ["immutable=0", "nolock=off", "immutable=no&nolock=00", "nolock", "immutable=²"])
def test_what_asks_for_locks_is_not(db, volumes, parameter):
    again = apsw.Connection(f"file:{volumes.path()}?vfs=graft&{parameter}", flags=URI)
    again.execute("INSERT INTO t(v) VALUES ('more')")
    assert rows(db, COUNT) == [(4,)]
    again.close()


def test_one_version_may_be_immutable(db, volumes):
    db.pragma("graft_push")
    with pytest.raises(apsw.CantOpenError, match="nolock=1"):
        apsw.Connection(f"file:{volumes.path()}?vfs=graft&nolock=1&at=1", flags=URI)
    past = apsw.Connection(f"file:{volumes.path()}?vfs=graft&immutable=1&at=1", flags=URI)
    db.execute("INSERT INTO t(v) VALUES ('more')")
    db.pragma("graft_push")
    assert rows(past, COUNT) == [(3,)]
    with pytest.raises(apsw.ReadOnlyError):
        past.execute("DELETE FROM t")
    assert rows(past, COUNT) == [(3,)]
    past.close()
    assert rows(db, COUNT) == [(4,)]
