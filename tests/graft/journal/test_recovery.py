"""The journal on damaged disks: recovery drops a torn tail, and nothing else."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from graft.disk import files as journal_files
from graft.errors import Corrupt, DiskFull, LocalStorageError, Unsupported
from graft.journal import tail as journal_tail
from graft.journal.format import HEADER_BYTES, MAGIC
from graft.settings import Durability
from graft.sync.push import push
from tests.graft.support import as_other_process, begin, body, commit, content, fresh_store, kill, leave, new_replica

PAGE = 512


class Directory:
    """A replica directory with three commits in its journal, to be damaged and opened again and again."""

    def __init__(self, path, durability):
        self.durability = durability
        self.store = fresh_store()
        self.original, self.path = path / "original", path / "copy"
        replica = new_replica(self.original, self.store)
        self.contents = [content(replica.snapshot())]
        for number in range(1, 4):
            commit(replica, [number, number + 1], f"commit {number}", durability=durability)
            self.contents.append(content(replica.snapshot()))
        files = replica.journal._files.all
        assert len(files) == 1
        self.name = files[0].path.name
        self.end = files[0].end
        starts = [0]
        data = bytes(files[0].view[: self.end])
        while (found := data.find(MAGIC, starts[-1] + 1)) > 0:
            starts.append(found)
        self.starts, self.data = starts, bytes(files[0].view)
        kill(replica)
        (self.original / "shared").unlink()

    def damaged(self, data):
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.original, self.path)
        (self.path / "journal" / self.name).write_bytes(data)
        return self

    def opened(self):
        return as_other_process(self.path, self.store)

    def shows(self, commits):
        """Open it: it has this many commits, and commits that follow survive too."""
        replica = self.opened()
        assert replica.snapshot().local_commits == commits
        assert content(replica.snapshot()) == self.contents[commits]
        commit(replica, [1], "after")
        after = content(replica.snapshot())
        kill(replica)
        again = self.opened()
        assert again.snapshot().local_commits == commits + 1
        assert content(again.snapshot()) == after
        leave(again)


@pytest.fixture(scope="module", params=[Durability.LOCAL, Durability.RELAXED], ids=str)
def directory(request, tmp_path_factory):
    return Directory(tmp_path_factory.mktemp("journal"), request.param)


def _tears(directory):
    first, end = directory.starts[-1], directory.end
    return [*range(first, min(first + HEADER_BYTES + 16, end), 7), *range(first + HEADER_BYTES + 16, end, 77)]


def test_a_record_cut_short(directory):
    for cut in _tears(directory):
        directory.damaged(directory.data[:cut] + bytes(len(directory.data) - cut)).shows(2)


def test_a_file_cut_short(directory):
    for cut in _tears(directory)[::3]:
        directory.damaged(directory.data[:cut]).shows(2)


def test_a_record_whose_beginning_is_missing(directory):
    first = directory.starts[-1]
    for cut in _tears(directory)[1:]:
        directory.damaged(directory.data[:first] + bytes(cut - first) + directory.data[cut:]).shows(2)


def test_a_garbled_byte(directory):
    first = directory.starts[-1]
    for place in _tears(directory):
        data = bytearray(directory.data)
        data[place] ^= 0x55
        directory.damaged(bytes(data))
        if place - first in {8, 9, 10}:  # a newer version, or a cipher, as far as anyone can tell
            with pytest.raises(Unsupported):
                directory.opened()
        else:
            directory.shows(2)


def test_every_header_byte_of_a_newer_version(directory):
    data = bytearray(directory.data)
    data[directory.starts[-1] + 8] = 2
    directory.damaged(bytes(data))
    with pytest.raises(Unsupported, match="upgrade"):
        directory.opened()
    assert (directory.path / "journal" / directory.name).read_bytes() == bytes(data)


def test_damage_before_a_commit_that_came_after_it_was_on_the_disk(directory):
    for start in directory.starts[:2]:
        data = bytearray(directory.data)
        data[start + HEADER_BYTES + 40] ^= 1
        directory.damaged(bytes(data))
        if directory.durability is Durability.LOCAL:
            with pytest.raises(Corrupt, match="nothing was dropped"):
                directory.opened()
            assert (directory.path / "journal" / directory.name).read_bytes() == bytes(data)
        else:  # nobody promised that these were on the disk
            directory.shows(directory.starts.index(start))


def test_damage_before_another_file(tmp_path):
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store)
    for number in range(1, 60):
        commit(replica, [1, 2], number, durability=Durability.RELAXED)
    files = sorted((tmp_path / "a" / "journal").glob("*.log"))
    assert len(files) > 2
    kill(replica)
    before = files[0].read_bytes()
    damaged = bytearray(before)
    damaged[len(damaged) // 2] ^= 1
    files[0].write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(Corrupt, match="nothing was dropped"):
            as_other_process(tmp_path / "a", store)
    assert files[0].read_bytes() == bytes(damaged)
    files[0].write_bytes(before)
    with as_closing(as_other_process(tmp_path / "a", store)) as again:
        assert again.snapshot().local_commits == 59


def test_a_spilled_commit_cut_short(tmp_path):
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store, spill_bytes=0)
    commit(replica, [1, 2], "spilled")
    kill(replica)
    (path,) = (tmp_path / "a" / "journal").glob("*.bulk")
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(Corrupt, match="damaged"):
        as_other_process(tmp_path / "a", store)
    assert path.read_bytes() == whole[:-8]


def test_a_file_that_a_crash_left_without_a_size(tmp_path):
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store)
    commit(replica, [1], "first")
    kill(replica)
    (tmp_path / "a" / "journal" / f"{2:016x}.log").touch()
    with as_closing(as_other_process(tmp_path / "a", store)) as again:
        assert again.snapshot().local_commits == 1
        commit(again, [1], "second")
    with as_closing(as_other_process(tmp_path / "a", store)) as again:
        assert again.snapshot().read(1) == body(PAGE, 1, "second")


def test_a_header_that_leads_nowhere(tmp_path):
    """A record of no bytes must not be skipped for ever."""
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store)
    commit(replica, [1], "first", durability=Durability.RELAXED)
    push(replica)
    (file,) = replica.journal._files.all
    name, data = file.path, bytearray(file.view)
    kill(replica)
    data[HEADER_BYTES - 16 : HEADER_BYTES - 8] = bytes(8)
    name.write_bytes(data)
    with as_closing(as_other_process(tmp_path / "a", store)) as again:
        assert again.snapshot().read(1) == body(PAGE, 1, "first")


class Syncs:
    """Notes which files were synced and written, in order."""

    def __init__(self, monkeypatch):
        self.events = []
        for module, name in ((os, "fsync"), (os, "fdatasync")):
            self._watch(monkeypatch, module, name, "sync")
        self._watch(monkeypatch, os, "pwritev", "write")

    def _watch(self, monkeypatch, module, name, event):
        real = getattr(module, name)

        def watched(descriptor, *rest):
            self.events.append((event, Path(f"/proc/self/fd/{descriptor}").readlink().name))
            return real(descriptor, *rest)

        monkeypatch.setattr(module, name, watched)

    def unsynced(self):
        """Journal files with writes that no sync followed."""
        last = {name: event for event, name in self.events if name.endswith((".log", ".bulk"))}
        return [name for name, event in last.items() if event == "write"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("spilled", [False, True])
def test_a_commit_that_waits_for_the_disk_waits_for_those_before_it(tmp_path, monkeypatch, spilled):
    """Else a power cut could take an earlier one and leave a hole in front of it."""
    replica = new_replica(tmp_path / "a", fresh_store(), spill_bytes=PAGE * 4)
    syncs = Syncs(monkeypatch)
    for number in range(40):
        commit(replica, [1, 2], number, durability=Durability.RELAXED)
        assert len(syncs.unsynced()) <= 1, "an older file was left unsynced"
    assert syncs.unsynced()
    commit(replica, range(1, 9 if spilled else 2), "last", durability=Durability.LOCAL)
    assert not syncs.unsynced()
    assert ("sync", "journal") in syncs.events
    leave(replica)


def test_a_commit_that_failed_to_reach_the_disk_is_not_there(tmp_path, monkeypatch):
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store)
    commit(replica, [1], "first")
    for fault in ("fdatasync", "pwritev"):
        with monkeypatch.context() as patch:
            patch.setattr(os, fault, failing(OSError(5, "Input/output error")))
            with pytest.raises(LocalStorageError):
                commit(replica, [1, 2, 3], "lost")
        assert content(replica.snapshot()) == body(PAGE, 1, "first")
    kill(replica)
    with as_closing(as_other_process(tmp_path / "a", store)) as again:
        assert content(again.snapshot()) == body(PAGE, 1, "first")


def test_writes_that_come_short(tmp_path, monkeypatch):
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store)
    gathering, single = os.pwritev, os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", lambda fd, parts, at: single(fd, b"".join(parts)[:100], at))
        patch.setattr(os, "pwrite", lambda fd, data, at: single(fd, data[:70], at))
        commit(replica, [1, 2], "first")
        replica.settings = replica.settings.model_copy(update={"spill_bytes": 0})
        commit(replica, [2, 3], "second")
    assert os.pwritev is gathering
    kill(replica)
    with as_closing(as_other_process(tmp_path / "a", store)) as again:
        assert [bytes(again.snapshot().read(page)) for page in (1, 2, 3)] == [
            body(PAGE, 1, "first"), body(PAGE, 2, "second"), body(PAGE, 3, "second"),
        ]  # fmt: skip


@pytest.mark.parametrize("spill", [0, 1 << 20])
def test_a_full_disk(tmp_path, monkeypatch, spill):
    replica = new_replica(tmp_path / "a", fresh_store(), spill_bytes=spill)
    commit(replica, [1, 2], "first")
    before = content(replica.snapshot())
    with replica.begin(replica.snapshot()) as transaction:
        with monkeypatch.context() as patch:
            for name in ("pwritev", "pwrite", "ftruncate"):
                patch.setattr(os, name, failing(OSError(28, "No space left on device")))
            for _ in range(2):
                with pytest.raises(DiskFull):
                    transaction.write(2, body(PAGE, 2, "second"))
                    transaction.commit()
            assert content(replica.snapshot()) == before
        transaction.write(2, body(PAGE, 2, "second"))
        transaction.commit()
    assert replica.snapshot().read(2) == body(PAGE, 2, "second")
    assert replica.snapshot().page_count == 2
    leave(replica)


def test_a_dead_writers_pages_are_removed_by_the_next(tmp_path):
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store, spill_bytes=0)
    other = as_other_process(tmp_path / "a", store, spill_bytes=0)
    transaction = replica.begin(replica.snapshot())
    transaction.write(1, body(PAGE, 1, "lost"))
    kill(replica, transaction)
    assert list((tmp_path / "a" / "journal").glob("*.tmp"))
    commit(other, [1], "kept")
    assert not list((tmp_path / "a" / "journal").glob("*.tmp"))
    leave(other)


def test_a_dead_writers_pages_are_removed_by_one_that_spills_nothing(tmp_path):
    store = fresh_store()
    replica = new_replica(tmp_path / "a", store, spill_bytes=0)
    other = as_other_process(tmp_path / "a", store)
    transaction = replica.begin(replica.snapshot())
    transaction.write(1, body(PAGE, 1, "lost"))
    kill(replica, transaction)
    assert list((tmp_path / "a" / "journal").glob("*.tmp"))
    commit(other, [1], "kept")
    assert not list((tmp_path / "a" / "journal").glob("*.tmp"))
    assert other.snapshot().read(1) == body(PAGE, 1, "kept")
    leave(other)


def test_the_end_of_a_mapped_file_is_wiped_without_shrinking_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5000 + b"y" * 3000)
    with path.open("r+b") as file:
        file.truncate(64 * 1024)
    journal_files.wipe(path, 5000)
    assert path.read_bytes() == b"x" * 5000 + bytes(64 * 1024 - 5000)
    assert journal_files.is_blank(path, 5000)
    assert not journal_files.is_blank(path, 4999)


def test_two_processes_after_a_commit_was_taken_back(tmp_path, monkeypatch):
    """A file made for a commit that failed must not be where one process goes on while others do not."""
    store = fresh_store()
    first = new_replica(tmp_path / "a", store, journal_file_bytes=4096)
    second = as_other_process(tmp_path / "a", store, journal_file_bytes=4096)
    commit(first, [1], "one")
    commit(second, [1], "two")
    with monkeypatch.context() as patch:
        patch.setattr(journal_tail, "write_all", failing(OSError(28, "No space left on device")))
        with pytest.raises(DiskFull):
            commit(first, range(1, 9), "large")
    for number in range(20):
        commit((first, second)[number % 2], [1], number)
        assert first.snapshot().read(1) == second.snapshot().read(1) == body(PAGE, 1, number)
    leave(first)
    leave(second)


def test_pushed_files_go_and_the_one_in_use_stays(tmp_path):
    """A push beside a writer must not take away what the writer is about to write to."""
    store = fresh_store()
    pusher = new_replica(tmp_path / "a", store)
    writer = as_other_process(tmp_path / "a", store)
    for number in range(80):
        commit(writer, [1, 2], number)
        if number % 3 == 0:
            pusher.snapshot()
            transaction = begin(writer)
            transaction.write(3, body(PAGE, 3, number))
            push(pusher)
            transaction.commit()
            transaction.close()
    kill(pusher)
    kill(writer)
    again = as_other_process(tmp_path / "a", store)
    assert again.snapshot().read(1) == body(PAGE, 1, 79)
    assert again.snapshot().read(3) == body(PAGE, 3, 78)
    assert len(list((tmp_path / "a" / "journal").iterdir())) <= 2
    leave(again)


def as_closing(replica):
    @contextlib.contextmanager
    def block():
        try:
            yield replica
        finally:
            leave(replica)

    return block()


def failing(error):
    def fail(*_, **__):
        raise error

    return fail
