"""The newest local commits, damaged or gone: an error, and nothing dropped, unless the machine has crashed."""

import contextlib
import shutil

import pytest

from graft.errors import Corrupt, RemoteUnavailable, Unsupported
from graft.failpoints import set_failpoint_hook
from graft.journal.format import HEADER_BYTES, MAGIC
from graft.operations.compact import compact
from graft.replica import current_view
from graft.settings import Durability
from graft.sync.clone import clone
from graft.sync.fork import fork
from graft.sync.pull import pull
from graft.sync.push import push
from tests.graft.support import (
    as_other_process,
    begin,
    body,
    commit,
    content,
    fresh_store,
    kill,
    leave,
    new_replica,
    noisy_body,
    small_settings,
)

PAGE = 512


@contextlib.contextmanager
def opened(path, store, **settings):
    replica = as_other_process(path, store, **settings)
    try:
        yield replica
    finally:
        leave(replica)


@pytest.fixture
def reboot(monkeypatch):
    """Makes the machine start anew, so that what was only with the operating system may be gone."""

    def now():
        monkeypatch.setattr(current_view, "boot_number", lambda: 4711)

    return now


def newest(path):
    """The journal file that was written last, and where its last record starts."""
    file = max((path / "journal").iterdir())
    return file, file.read_bytes().rfind(MAGIC)


def flip(offset):
    def damage(path):
        file, start = newest(path)
        data = bytearray(file.read_bytes())
        data[start + offset] ^= 1
        file.write_bytes(data)

    return damage


def cut(path):
    file, start = newest(path)
    file.write_bytes(file.read_bytes()[: start + HEADER_BYTES + 100])


def blank(path):
    file, start = newest(path)
    file.write_bytes(file.read_bytes()[:start].ljust(file.stat().st_size, b"\0"))


def empty(path):
    newest(path)[0].write_bytes(b"")


def delete(path):
    newest(path)[0].unlink()


def delete_all(path):
    for file in (path / "journal").iterdir():
        file.unlink()


def delete_directory(path):
    shutil.rmtree(path / "journal")


DAMAGE = {
    "a byte of the magic": flip(3),
    "a byte of the header": flip(50),
    "a byte of a body": flip(HEADER_BYTES + 300),
    "cut": cut,
    "blank": blank,
    "empty": empty,
    "deleted": delete,
    "all deleted": delete_all,
    "directory deleted": delete_directory,
}


@pytest.fixture(params=DAMAGE)
def damage(request):
    return DAMAGE[request.param]


def stays_an_error_until_restored(path, store, damage, **settings):
    """It is told each time that somebody opens the replica, and all is there once the files are put back."""
    kept = path.parent / "kept"
    shutil.copytree(path / "journal", kept)
    damage(path)
    after = (
        {file.name: file.read_bytes() for file in (path / "journal").iterdir()} if damage != delete_directory else {}
    )
    for _ in range(2):
        with pytest.raises(Corrupt, match=r"damaged|empty"):
            as_other_process(path, store, **settings)
        assert {file.name: file.read_bytes() for file in (path / "journal").iterdir()} == after
    shutil.rmtree(path / "journal")
    shutil.copytree(kept, path / "journal")
    return opened(path, store, **settings)


class TestDamageIsToldApart:
    @pytest.mark.parametrize("spilled", [False, True], ids=["appended", "spilled"])
    @pytest.mark.parametrize("durability", [Durability.LOCAL, Durability.RELAXED])
    @pytest.mark.parametrize("end", ["closed", "closed, another boot", "closed, no counters", "killed"])
    def test_from_a_torn_tail(self, tmp_path, reboot, damage, end, durability, spilled):
        store, path = fresh_store(), tmp_path / "a"
        settings = {"spill_bytes": 0} if spilled else {}
        replica = new_replica(path, store, **settings)
        for number in range(3):
            commit(replica, [1, 2], number, durability=durability)
        if end == "killed":
            kill(replica)
        else:
            leave(replica)
        if "boot" in end:
            reboot()
        if "counters" in end:
            (path / "shared").unlink()
        with stays_an_error_until_restored(path, store, damage, **settings) as again:
            assert again.snapshot().local_commits == 3
            assert again.snapshot().read(2) == body(PAGE, 2, 2)
            push(again)

    def test_after_a_push_whose_outcome_is_open(self, tmp_path, reboot, damage):
        """What a push means to send was on the disk; else what is committed next would be taken for pushed."""
        store, path = fresh_store(), tmp_path / "a"
        replica = new_replica(path, store)
        commit(replica, [1, 2], "first", durability=Durability.RELAXED)

        def unplugged(point):
            if point == "push: after intent":
                raise RemoteUnavailable("unplugged")

        set_failpoint_hook(unplugged)
        try:
            with pytest.raises(RemoteUnavailable):
                push(replica)
        finally:
            set_failpoint_hook(None)
        kill(replica)
        reboot()
        with stays_an_error_until_restored(path, store, damage) as again:
            assert push(again).after in {0, 1}
            assert again.state.read().lsn == 1
            assert again.snapshot().read(2) == body(PAGE, 2, "first")

    def test_after_a_rotation(self, tmp_path, reboot):
        """The end of a file is vouched for when the next one is begun, also where that one is gone."""
        store, path = fresh_store(), tmp_path / "a"
        replica = new_replica(path, store)
        while len(list((path / "journal").iterdir())) < 3:
            commit(replica, [1, 2], "again", durability=Durability.RELAXED)
        kill(replica)
        reboot()

        def damage(path):
            delete(path)
            flip(HEADER_BYTES + 300)(path)

        with stays_an_error_until_restored(path, store, damage) as again:
            assert again.snapshot().read(2) == body(PAGE, 2, "again")

    def test_commits_after_a_push(self, tmp_path, reboot, damage):
        store, path = fresh_store(), tmp_path / "a"
        replica = new_replica(path, store)
        commit(replica, [1], "pushed")
        push(replica)
        commit(replica, [1], "newer")
        leave(replica)
        reboot()
        with stays_an_error_until_restored(path, store, damage) as again:
            assert again.snapshot().read(1) == body(PAGE, 1, "newer")

    def test_a_reader_that_closed_vouches_for_what_others_committed(self, tmp_path, reboot, damage):
        store, path = fresh_store(), tmp_path / "a"
        writer = new_replica(path, store)
        with opened(path, store):
            commit(writer, [1, 2], "first", durability=Durability.RELAXED)
        kill(writer)
        reboot()
        with stays_an_error_until_restored(path, store, damage) as again:
            assert again.snapshot().read(1) == body(PAGE, 1, "first")

    def test_when_a_writer_died(self, tmp_path):
        """One who takes in what a dead writer left drops nothing that was published."""
        store, path = fresh_store(), tmp_path / "a"
        writer, other = new_replica(path, store), as_other_process(path, store)
        commit(writer, [1, 2], "first")
        commit(writer, [1, 2], "second")
        writer.shared.begin_append()  # and there it dies
        kill(writer)
        flip(HEADER_BYTES + 300)(path)
        data = newest(path)[0].read_bytes()
        with pytest.raises(Corrupt, match="damaged"):
            commit(other, [1], "third")
        assert newest(path)[0].read_bytes() == data
        flip(HEADER_BYTES + 300)(path)
        commit(other, [1], "third")
        assert other.snapshot().local_commits == 3
        leave(other)


class TestACrashOfTheMachine:
    def test_may_take_the_newest_commits(self, tmp_path, reboot):
        store, path = fresh_store(), tmp_path / "a"
        replica = new_replica(path, store)
        commit(replica, [1], "vouched for")
        leave(replica)
        again = as_other_process(path, store)
        commit(again, [1], "not synced", durability=Durability.RELAXED)
        kill(again)
        reboot()
        flip(HEADER_BYTES + 300)(path)
        with opened(path, store) as again:
            assert again.snapshot().read(1) == body(PAGE, 1, "vouched for")
            commit(again, [1], "after")
        with opened(path, store) as again:
            assert again.snapshot().local_commits == 2

    def test_what_was_given_up_is_not_missed(self, tmp_path, reboot):
        store, path = fresh_store(), tmp_path / "a"
        replica = new_replica(path, store)
        commit(replica, [1], "pushed")
        push(replica)
        commit(replica, [1], "given up")
        leave(replica)
        with opened(path, store) as again:
            pull(again, policy="discard")
        for _ in range(2):
            with opened(path, store) as again:
                assert again.snapshot().read(1) == body(PAGE, 1, "pushed")
            reboot()


class TestRotUnderAnOpenReplica:
    """A push gives what it sends a checksum of its own, which must not vouch for what rotted before."""

    @pytest.fixture(params=["appended", "spilled"])
    def replica(self, request, tmp_path):
        replica = new_replica(tmp_path / "a", fresh_store(), spill_bytes=0 if request.param == "spilled" else 2**20)
        commit(replica, [1], "pushed")
        push(replica)
        for number in range(3):
            commit(replica, [1, 2, 3], number)
        yield replica
        leave(replica)

    def rot(self, replica):
        """Flip each of some bytes of the journal in turn; its files are mapped, so that the replica sees that."""
        for file in sorted((replica.path / "journal").iterdir()):
            whole = file.read_bytes()
            start = whole.find(MAGIC, 1 if b"pushed" in whole else 0)
            for place in range(start, whole.rstrip(b"\0").rfind(b";") + 1, 97):
                with file.open("r+b") as opened_file:
                    opened_file.seek(place)
                    opened_file.write(bytes([whole[place] ^ 0x10]))
                    opened_file.flush()
                    if self.counts(whole, place):
                        yield place
                    opened_file.seek(place)
                    opened_file.write(whole[place : place + 1])

    def counts(self, whole, place):
        """Whether a byte is part of what a checksum covers: the gap between page list and bodies is not."""
        start = whole.rfind(MAGIC, 0, place + 1)
        return not HEADER_BYTES + 12 <= place - start < HEADER_BYTES + 16

    @pytest.mark.parametrize(
        "send",
        [
            push,
            lambda replica: fork(replica, "other"),
            lambda replica: pull(replica, policy="fork", fork_name="other"),
            lambda replica: commit(replica, [4], "at once", durability=Durability.REMOTE),
        ],
        ids=["push", "fork", "pull with fork", "commit to the remote"],
    )
    def test_is_not_sent(self, replica, send):
        before = content(replica.snapshot())
        tried = 0
        for place in self.rot(replica):
            with pytest.raises(Corrupt, match="was damaged after it was written"):
                send(replica)
            assert replica.remote.head(replica.view().state.identity.lineage) == 1, place
            tried += 1
        assert tried > 10
        assert content(replica.snapshot()) == before
        send(replica)

    def test_is_told_to_one_who_joins(self, replica):
        for _ in self.rot(replica):
            with pytest.raises((Corrupt, Unsupported)):
                as_other_process(replica.path, replica.remote.store)
        with opened(replica.path, replica.remote.store) as other:
            assert content(other.snapshot()) == content(replica.snapshot())

    def test_is_told_to_one_who_reads_on(self, replica):
        other = as_other_process(replica.path, replica.remote.store)
        commit(replica, [1, 2, 3], "newest")
        flip(HEADER_BYTES + 300)(replica.path)
        with pytest.raises(Corrupt, match="damaged"):
            other.snapshot()
        flip(HEADER_BYTES + 300)(replica.path)
        assert content(other.snapshot()) == content(replica.snapshot())
        leave(other)


class TestRotInTheCacheOfAnOpenReplica:
    """Cached frames are mapped, and verified once: what is made of them later must be made of what they were."""

    @staticmethod
    def rot(replica):
        """Flip a byte of every page that the cache holds; return how many files there are."""
        files = list((replica.path / "cache").glob("*.frames"))
        for file in files:
            with file.open("r+b") as opened_file:
                data = bytearray(opened_file.read())
                for place in range(40, len(data), PAGE):
                    data[place] ^= 0x20 if data[place] else 0
                opened_file.seek(0)
                opened_file.write(data)
        return len(files)

    @staticmethod
    def cloned(replica, path):
        return clone(path, f"{replica.remote.store.url}#vol", settings=small_settings(), store=replica.remote.store)

    @pytest.mark.parametrize("pushes", range(1, 9))
    def test_is_not_carried_along(self, tmp_path, pushes):
        replica = new_replica(tmp_path / "a", fresh_store(), cache_bytes_max=2**20)
        for number in range(pushes):
            commit(replica, [number + 1], number)
            push(replica)
        written = content(replica.snapshot())
        assert self.rot(replica)
        commit(replica, [pushes + 1], "last")
        push(replica)
        with self.cloned(replica, tmp_path / "b") as other:
            assert content(other.snapshot()) == written + body(PAGE, pushes + 1, "last")
        leave(replica)

    def test_is_not_what_differences_are_made_to(self, tmp_path):
        settings = {"codec": "zstd", "cache_bytes_max": 2**22, "cache_file_bytes": 2**18, "spill_bytes": 2**22}
        replica = new_replica(tmp_path / "a", fresh_store(), page_size=4096, **settings)
        pages = range(1, 65)
        with begin(replica) as transaction:
            for page in pages:
                transaction.write(page, noisy_body(4096, page, "first"))
            transaction.commit()
        push(replica)
        self.rot(replica)
        with begin(replica) as transaction:
            for page in pages[1::4]:
                transaction.write(page, noisy_body(4096, page, "second"))
            transaction.commit()
        push(replica)
        with self.cloned(replica, tmp_path / "b") as other:
            for page in pages:
                tag = "second" if page in pages[1::4] else "first"
                assert other.snapshot().read(page) == noisy_body(4096, page, tag)
        leave(replica)

    def test_is_not_compacted(self, tmp_path):
        replica = new_replica(tmp_path / "a", fresh_store(), cache_bytes_max=2**20)
        for number in range(8):
            commit(replica, [number + 1, number + 2], number)
            push(replica)
        written = content(replica.snapshot())
        assert self.rot(replica)
        compact(replica)
        with self.cloned(replica, tmp_path / "b") as other:
            assert content(other.snapshot()) == written
        leave(replica)

    def test_is_not_taken_over_from_a_compaction(self, tmp_path):
        """One who pulls a compaction keeps its cached pages under their new names."""
        replica = new_replica(tmp_path / "a", fresh_store(), cache_bytes_max=2**20)
        for number in range(8):
            commit(replica, [number + 1, number + 2], number)
            push(replica)
        with self.cloned(replica, tmp_path / "b") as other:
            written = content(other.snapshot())
            compact(replica)
            self.rot(other)
            pull(other)
            assert content(other.snapshot()) == written
        leave(replica)
