"""Directories that cannot be opened, and those that can although the cache cannot."""

import os

import pytest

from graft.errors import BadRequest, GraftError, LocalStorageError
from graft.replica.opening import open_replica
from graft.sync.clone import clone
from graft.sync.push import push
from graft_sqlite_vfs import connect
from tests.graft.support import fresh_store, leave, new_replica, small_settings

_LONG = "/".join(["d" * 200] * 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [(_LONG, "has [67].. bytes"), ("d" * 300, "File name too long"), (os.fsdecode(b"\xff\xfe"), "not valid UTF-8"),
     ("a\0b", "NUL|x00b")],
    ids=["long", "long name", "no UTF-8", "NUL"],
)  # fmt: skip
def test_a_path_that_cannot_be_used_is_refused_before_anything_is_made(tmp_path, name, said):
    path = f"{tmp_path}/{name}"
    for attempt in (
        lambda: open_replica(path),
        lambda: clone(path, f"{tmp_path}/remote#v"),
        lambda: connect(path, remote=f"{tmp_path}/remote#v"),
    ):
        with pytest.raises((BadRequest, LocalStorageError), match=said):
            attempt()
    assert not list(tmp_path.iterdir())


def test_a_loop_of_links_and_a_file_in_the_way_are_errors_of_ours(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    for path in (tmp_path / "loop", tmp_path / "loop" / "x", tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(GraftError, match=path.name):
            open_replica(path)


@pytest.mark.parametrize("obstacle", ["open.lock", "writer.lock", "sync.brief", "shared", "journal"])
def test_what_the_system_refuses_on_opening_is_told_with_the_path(tmp_path, obstacle):
    leave(new_replica(tmp_path / "a", fresh_store()))
    there = tmp_path / "a" / obstacle
    if there.is_dir():
        there.rmdir() if not list(there.iterdir()) else [each.unlink() for each in there.iterdir()] and there.rmdir()
        there.touch()
    else:
        there.unlink(missing_ok=True)
        there.mkdir()
    with pytest.raises(LocalStorageError, match="/a"):
        open_replica(tmp_path / "a")


def test_a_replica_whose_cache_cannot_be_made_is_read_and_written(tmp_path):
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store)
    with replica.begin(replica.snapshot()) as transaction:
        transaction.write(1, bytes(512))
        transaction.write(2, b"x" * 512)
        transaction.commit()
    push(replica)
    leave(replica)
    for each in (tmp_path / "a" / "cache").iterdir():
        each.unlink()
    (tmp_path / "a" / "cache").rmdir()
    (tmp_path / "a" / "cache").touch()  # as on a full disk, no database can be made in it
    replica = open_replica(tmp_path / "a", store=store, settings=small_settings())
    assert bytes(replica.snapshot().read(2)) == b"x" * 512
    (tmp_path / "a" / "cache").unlink()
    replica.bodies.flush()
    assert replica.cache.use().frames == 1  # it is used as soon as it can be made
    replica.close()
