"""What the directory store does that no other store must: durability, hidden files, errors of file systems."""

import errno
import os
import stat

import pytest

from pagestore.errors import StorageFull, StoreRefused, StoreUnavailable
from pagestore.stores import local_dir_files as localdir_files
from pagestore.stores.local_dir import STALE_TEMP_S, LocalDirStore


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return LocalDirStore(root)


def fail_with(number):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def files_below(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_reading_and_listing_create_nothing(store, root):
    assert list(store.list("")) == []
    store.delete("a/b")
    assert not root.exists()


def test_objects_are_plain_files_and_nothing_else_stays(store, root):
    store.put("a/b", b"1")
    store.put_if_absent("a/c", b"2")
    store.put_if_absent("a/c", b"3")
    store.put_stream("d", [b"4", b"5"])
    assert files_below(root) == ["a/b", "a/c", "d"]
    assert (root / "d").read_bytes() == b"45"


def test_unfinished_bodies_are_hidden(store, root):
    def chunks():
        yield b"begun"
        assert len(files_below(root)) == 1
        assert list(store.list("")) == []

    store.put_stream("k", chunks())
    assert [info.key for info in store.list("")] == ["k"]


def test_what_a_killed_process_left_is_removed_later(store, root):
    store.put("k", b"")
    left = root / localdir_files.TEMP_DIR / "left"
    fresh = root / localdir_files.TEMP_DIR / "fresh"
    for path in (left, fresh):
        path.write_bytes(b"half")
    long_ago_s = left.stat().st_mtime - STALE_TEMP_S - 60
    os.utime(left, (long_ago_s, long_ago_s))
    LocalDirStore(root).put("k", b"")
    assert not left.exists()
    assert fresh.exists()


@pytest.mark.parametrize("verb", ["put", "put_if_absent", "put_stream"])
def test_file_and_directory_are_synced_before_a_write_returns(store, root, monkeypatch, verb):
    synced = []

    def record(descriptor):
        is_dir = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        synced.append("dir" if is_dir else ("file", os.fstat(descriptor).st_size, (root / "a" / "b").exists()))

    monkeypatch.setattr(os, "fsync", record)
    getattr(store, verb)("a/b", [b"body"] if verb == "put_stream" else b"body")
    assert ("file", 4, False) in synced, "the body is synced before it has its name"
    assert synced[-1] == "dir"


@pytest.mark.parametrize("verb", ["put", "put_if_absent", "put_stream"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk(store, root, monkeypatch, verb, number, step):
    monkeypatch.setattr(os, step, fail_with(number))
    if step == "fsync":
        root.mkdir()
        (root / localdir_files.TEMP_DIR).mkdir()
    with pytest.raises(StorageFull) as caught:
        getattr(store, verb)("a/b", [b"body"] if verb == "put_stream" else b"body")
    assert store.url in str(caught.value)
    assert files_below(root) == []


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.EACCES, StoreRefused), (errno.EROFS, StoreRefused), (errno.EIO, StoreUnavailable)],
)
def test_a_directory_that_cannot_be_used(store, monkeypatch, number, error):
    store.put("a/b", b"body")
    monkeypatch.setattr(os, "replace", fail_with(number))
    monkeypatch.setattr("pathlib.Path.replace", fail_with(number))
    with pytest.raises(error):
        store.put("a/b", b"new")
    assert store.get("a/b") == b"body"
    monkeypatch.setattr(os, "scandir", fail_with(number))
    with pytest.raises(error):
        list(store.list("a/"))


def test_no_hard_links(store, monkeypatch):
    monkeypatch.setattr(os, "link", fail_with(errno.EOPNOTSUPP))
    with pytest.raises(StoreRefused, match="hard links"):
        store.put_if_absent("k", b"")


def test_a_key_cannot_be_the_folder_of_another(store):
    store.put("a/b", b"1")
    for verb in (store.put, store.put_if_absent):
        with pytest.raises(StoreRefused, match="in the object's place"):
            verb("a", b"")
        with pytest.raises(StoreRefused, match="in the object's place"):
            verb("a/b/c", b"")
    assert [info.key for info in store.list("")] == ["a/b"]


def test_listing_reads_only_directories_that_can_match(store, monkeypatch):
    for key in ("logs/a/commits/0", "logs/a/commits/1", "logs/b/commits/0", "logs/b/other/0", "segments/s", "top"):
        store.put(key, b"")
    read = []
    scandir = os.scandir

    def record(path):
        read.append(str(path).removeprefix(store.url.removeprefix("file://")))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", record)

    def reads(*args, **kwargs):
        read.clear()
        keys = [info.key for info in store.list(*args, **kwargs)]
        return keys, read.copy()

    assert reads("logs/a/commits/", limit=1) == (["logs/a/commits/0"], ["/logs/a/commits"])
    assert reads("logs/a/c") == (["logs/a/commits/0", "logs/a/commits/1"], ["/logs/a", "/logs/a/commits"])
    assert reads("", limit=1) == (["logs/a/commits/0"], ["", "/logs", "/logs/a", "/logs/a/commits"])
    assert reads("", start_after="logs/b/commits/0") == (
        ["logs/b/other/0", "segments/s", "top"],
        ["", "/logs", "/logs/b", "/logs/b/commits", "/logs/b/other", "/segments"],
    )
    assert reads("", limit=0) == ([], [])


def test_files_that_are_no_objects_are_not_listed(store, root):
    store.put("a", b"")
    (root / "a copy").write_bytes(b"")
    (root / "b~").mkdir()
    (root / "b~" / "c").write_bytes(b"")
    (root / "broken-link").symlink_to(root / "nowhere")
    assert [info.key for info in store.list("")] == ["a"]


def test_a_file_that_goes_while_it_is_listed_is_passed_over(store):
    for key in ("a", "b", "c"):
        store.put(key, b"")
    listing = store.list("")
    assert next(listing).key == "a"
    store.delete("b")
    assert [info.key for info in listing] == ["c"]


def test_a_long_range_is_read_whatever_one_read_returns(store, monkeypatch):
    store.put("k", b"0123456789")
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, length, start: pread(descriptor, min(length, 3), start))
    assert store.get_range("k", 1, 8) == b"12345678"
    assert store.get_range("k", 5, 80) == b"56789"


def test_a_write_that_takes_several_calls(store, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    store.put("k", b"0123456789")
    assert store.put_stream("s", [b"", b"01234", b"56"]) == 7
    assert store.get("k") == b"0123456789"
    assert store.get("s") == b"0123456"
