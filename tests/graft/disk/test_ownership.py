"""What root does to a replica of somebody else's leaves files that are theirs."""

import os

import pytest

from graft_sqlite_vfs import connect

_OWNER = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_the_owner_of_the_directory(tmp_path):
    target = tmp_path / "of somebody else"
    target.write_bytes(b"")
    for name in ("remote", "a", "b"):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, _OWNER, _OWNER)
    (tmp_path / "a" / "cache").mkdir()
    os.chown(tmp_path / "a" / "cache", _OWNER, _OWNER)
    (tmp_path / "a" / "cache").rmdir()
    remote = f"{tmp_path}/remote#v"
    a, b = connect(tmp_path / "a", remote=remote), connect(tmp_path / "b", remote=remote)
    a.execute("CREATE TABLE t(x)")
    with a:
        a.executemany("INSERT INTO t VALUES (?)", [(os.urandom(2000) + bytes(3000),)] * 3000)  # spills
    a.pragma("graft_push")
    b.pragma("graft_pull")
    assert b.execute("SELECT count(*) FROM t").get == 3000
    b.pragma("graft_hydrate")
    wrong = [
        str(path)
        for name in ("remote", "a", "b")
        for path in (tmp_path / name).rglob("*")
        if path.lstat().st_uid != _OWNER
    ]
    assert not wrong
    a.close()
    b.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_a_link_leads_to_stays_its_owners(tmp_path):
    victim, directory = tmp_path / "victim", tmp_path / "a"
    victim.write_bytes(b"")
    directory.mkdir()
    os.chown(directory, _OWNER, _OWNER)
    (directory / "shared").symlink_to(victim)
    connection = connect(tmp_path / "b", remote=f"{tmp_path}/remote#v")
    connection.close()
    for path in (tmp_path / "b").iterdir():
        if path.name != "shared":
            path.rename(directory / path.name)
    connect(directory).close()
    assert victim.stat().st_uid == 0
