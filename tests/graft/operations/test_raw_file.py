"""Raw volumes: the file object against `io.BytesIO`, whole files in and out, and what a replica says of itself."""

import io
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.errors import BadRequest, LocalStorageError, NoSuchVersion, WriterBusy
from graft.operations.hydrate import hydrate
from graft.operations.log import log_entries
from graft.operations.raw_file import open_file, open_snapshot
from graft.operations.status import audit, status
from graft.operations.transfer import export_file, import_file
from graft.operations.verify import verify
from graft.sync.clone import clone
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from pagestore.runtime import Runtime
from testbed.patience import PATIENCE_S
from tests.graft.support import body, commit, content, fast_directory, fresh_store, leave, new_replica, small_settings

_position = st.integers(0, 3000)
_operation = st.one_of(
    st.tuples(st.just("write"), st.binary(max_size=1400)),
    st.tuples(st.just("seek"), _position),
    st.tuples(st.just("read"), st.integers(-1, 1500)),
    st.tuples(st.just("truncate"), st.none() | _position),
    st.tuples(st.just("end"), st.integers(-300, 300)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["r+b", "r+b", "wb"]), st.lists(_operation, max_size=8)), max_size=4))
def test_a_volume_is_a_file(sessions):
    with fast_directory() as path:
        replica = new_replica(path / "a", fresh_store(), spill_bytes=1024)
        model = io.BytesIO()
        for mode, operations in sessions:
            model = io.BytesIO() if mode == "wb" else model
            model.seek(0)
            with open_file(replica, mode) as file:
                for name, argument in operations:
                    assert apply(file, name, argument) == apply(model, name, argument), name
                    assert file.tell() == model.tell()
            assert open_file(replica).read() == model.getvalue()
            assert content(replica.snapshot()) == model.getvalue()
        with open_file(replica) as file:
            for start in range(0, 3000, 700):
                assert file.seek(start) == model.seek(start)
                assert file.read(650) == model.read(650)
        leave(replica)


def apply(file, name, argument):
    match name:
        case "write":
            return file.write(argument)
        case "seek":
            return file.seek(argument)
        case "read":
            return file.read(argument)
        case "truncate":
            if isinstance(file, io.BytesIO):  # which, unlike a file, does not grow by this
                size = file.tell() if argument is None else argument
                file.__setstate__((file.getvalue()[:size].ljust(size, b"\0"), file.tell(), None))
                return size
            return file.truncate(argument)
        case "end":
            # BytesIO clips a position before the start to 0, a file refuses it
            size = file.seek(0, io.SEEK_END)
            return file.seek(max(argument, -size), io.SEEK_END)


@pytest.fixture
def replica(tmp_path):
    made = new_replica(tmp_path / "a", fresh_store())
    yield made
    leave(made)


def test_what_fails_in_a_block_is_not_committed(replica):
    with open_file(replica, "wb") as file:
        file.write(b"kept")
    with pytest.raises(ZeroDivisionError), open_file(replica, "r+b") as file:
        file.write(b"lost")
        1 / 0  # noqa: B018
    forgotten = open_file(replica, "r+b")
    forgotten.write(b"lost")
    with pytest.raises(WriterBusy):
        open_file(replica, "wb")
    forgotten.discard()
    del forgotten
    assert open_file(replica).read() == b"kept"
    assert status(replica).local_commits == 1


def test_bad_uses(replica):
    with pytest.raises(BadRequest, match="mode"):
        open_file(replica, "ab")
    with open_file(replica) as file:
        with pytest.raises(ValueError, match="seek"):
            file.raw.seek(-1)
        with pytest.raises(ValueError, match="whence"):
            file.raw.seek(0, 7)
        with pytest.raises(io.UnsupportedOperation):
            file.write(b"x")


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4096, 100_000, 5 * 1024 * 1024 + 17])
def test_import_and_export(replica, tmp_path, size):
    data = os.urandom(size)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"replaced before")
    import_file(replica, source)
    source.write_bytes(data)
    with pytest.raises(BadRequest, match="not pushed"):
        import_file(replica, source, replace=True)
    assert b"".join(replica.snapshot().read_all([1])).startswith(b"replaced before")
    push(replica)
    with pytest.raises(BadRequest, match="not empty"):
        import_file(replica, source)
    seen = []
    result = import_file(replica, source, replace=True, progress=lambda done, total: seen.append((done, total)))
    assert result.bytes == size
    assert not seen or seen[-1] == (size, size)
    assert export_file(replica.snapshot(), target).bytes == size
    assert target.read_bytes() == data
    assert target.stat().st_size == replica.snapshot().byte_size == size
    push(replica)
    with clone(tmp_path / "b", replica.remote_address, settings=small_settings(), store=replica.remote.store) as other:
        with pytest.raises(BadRequest, match="exists"):
            export_file(other.snapshot(), target)
        export_file(other.snapshot(), target, overwrite=True)
    assert target.read_bytes() == data
    assert not list(tmp_path.glob(".*"))


def test_two_exports_to_one_name_never_mix(replica, tmp_path):
    """They run in one process, as two threads would: each writes a draft of its own."""
    target, versions = tmp_path / "target", []
    for tag in "ab":
        (tmp_path / f"{tag}.txt").write_bytes(tag.encode() * 4096)
        import_file(replica, tmp_path / f"{tag}.txt", replace=True)
        push(replica)
        versions.append(replica.snapshot())

    def meanwhile(done, total):
        if done == total and not target.exists():
            export_file(versions[1], target, overwrite=True)

    export_file(versions[0], target, overwrite=True, progress=meanwhile)
    assert target.read_bytes() == b"a" * 4096
    target.unlink()
    with pytest.raises(BadRequest, match="exists already"):
        export_file(versions[0], target, progress=meanwhile)  # somebody else was first
    assert target.read_bytes() == b"b" * 4096
    assert sorted(path.name for path in tmp_path.iterdir() if ".part" in path.name) == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "directory"])
def test_an_export_replaces_regular_files_only(replica, tmp_path, kind, overwrite):
    target, other = tmp_path / "target", tmp_path / "other"
    if "link" in kind:
        target.symlink_to(other)
    if kind == "link":
        other.write_bytes(b"precious")
    if kind == "fifo":
        os.mkfifo(target)
    if kind == "directory":
        target.mkdir()
    before = target.lstat()
    with pytest.raises(BadRequest, match="exists already"):
        export_file(replica.snapshot(), target, overwrite=overwrite)
    assert os.path.samestat(target.lstat(), before)
    assert kind != "link" or other.read_bytes() == b"precious"


@pytest.mark.parametrize("end", ["-wal", "-journal"])
def test_an_export_refuses_a_name_with_an_old_wal(replica, tmp_path, end):
    (tmp_path / f"out.db{end}").write_bytes(b"of another database")
    with pytest.raises(BadRequest, match=f"out.db{end} lies beside"):
        export_file(replica.snapshot(), tmp_path / "out.db", overwrite=True)


def test_import_refuses_what_is_no_file(replica, tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(LocalStorageError):
            import_file(replica, path)
    with pytest.raises(BadRequest, match="regular"):
        import_file(replica, "/dev/null")
    with pytest.raises(LocalStorageError):
        export_file(replica.snapshot(), tmp_path / "absent" / "target")
    commit(replica, [1], "goes on")


_MEASURE = """
import resource, sys
from pathlib import Path
from graft.sync.clone import init
from graft.sync.push import push
from graft.operations.transfer import export_file, import_file
root = Path(sys.argv[1])
with init(root / "a", f"{root}/store#vol") as replica:
    (root / "small").write_bytes(bytes(5_000_000))
    import_file(replica, root / "small")
    push(replica)
    def peak():
        for line in open("/proc/self/status"):
            if line.startswith("RssAnon"):
                return int(line.split()[1])
    before = peak()
    highest = before
    def progress(done, total):
        global highest
        highest = max(highest, peak())
    push(replica)
    import_file(replica, root / "large", replace=True, progress=progress)
    highest = max(highest, peak())
    push(replica)
    highest = max(highest, peak())
    export_file(replica.snapshot(), root / "out", progress=progress)
    print(before, highest)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_bounded(tmp_path):
    """200 MB through import, push and export; file pages that the kernel may drop at any time do not count."""
    block = os.urandom(1024 * 1024)
    with (tmp_path / "large").open("wb") as file:
        for number in range(200):
            file.write(number.to_bytes(8, "big") + block[8:])
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, tmp_path], check=True, capture_output=True, text=True, timeout=PATIENCE_S,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    before, highest = map(int, done.stdout.split())
    assert highest - before < 60 * 1024, f"{before} KiB grew to {highest} KiB"
    assert (tmp_path / "out").stat().st_size == 200 * 1024 * 1024


def test_audit_status_log_and_verify(tmp_path):
    clock = [1_700_000_000.0]

    def now():
        clock[0] += 60
        return clock[0]

    from graft.sync.clone import init

    store = fresh_store()
    replica = init(
        tmp_path / "a", f"{store.url}#vol", page_size=512, store=store, runtime=Runtime(now_s=now),
        settings=small_settings(inline_bytes_max=0, cache_bytes_max=1 << 20),
    )  # fmt: skip
    assert status(replica).state == "up to date"
    assert not verify(replica).problems
    commit(replica, range(1, 21), "first")
    commit(replica, [1], "second")
    found = status(replica)
    assert (found.state, found.local_commits, found.local_pages, found.remote_head) == ("ahead", 2, 20, 0)
    assert found.journal_bytes > 20 * 512
    push(replica, message="one")
    commit(replica, [2], "third", page_count=10)
    push(replica)
    entries = list(log_entries(replica))
    assert [(entry.lsn, entry.changed_pages, entry.page_count, entry.message) for entry in entries] == [
        (2, 1, 10, None), (1, 20, 20, "one"),
    ]  # fmt: skip
    assert [entry.lsn for entry in log_entries(replica, 1)] == [2]
    commit(replica, [3], "fourth")
    reader = clone(
        tmp_path / "b", f"{store.url}#vol", store=store,
        settings=small_settings(cache_bytes_max=1 << 20, frame_bytes=512),
    )  # fmt: skip
    fresh = audit(reader)
    assert (fresh.page_count, fresh.live_pages, fresh.cached_pages, fresh.missing_pages) == (10, 10, 0, 10)
    seen = []
    assert hydrate(reader, progress=lambda done, total: seen.append((done, total))).pages >= 10
    assert seen[-1][0] == seen[-1][1]
    assert audit(reader).missing_pages == 0
    assert hydrate(reader).frames == 0
    assert audit(replica).local_pages == 1
    report = verify(reader)
    assert (report.lsn, report.pages, report.problems) == (2, 10, ())

    times = [datetime.fromtimestamp(entry.time_us / 1e6, UTC) for entry in reversed(entries)]
    for lsn, moment in enumerate(times, 1):
        for at in (lsn, str(lsn), moment, moment.isoformat(), moment.replace(tzinfo=None).isoformat()):
            assert snapshot_at(reader, at).lsn == lsn
    assert snapshot_at(reader, times[1].replace(year=2100)).lsn == 2
    assert snapshot_at(reader, 1).read(15) == body(512, 15, "first")
    assert snapshot_at(reader, 0).page_count == 0
    assert open_snapshot(snapshot_at(reader, 1)).read() == content(snapshot_at(reader, 1))
    for at in (3, -1, times[0].replace(year=2000), "nonsense"):
        with pytest.raises(NoSuchVersion):
            snapshot_at(reader, at)
    leave(replica)
    leave(reader)


def test_an_export_keeps_the_mode_of_what_it_replaces(replica, tmp_path):
    target = tmp_path / "private.db"
    target.write_bytes(b"old")
    target.chmod(0o600)
    export_file(replica.snapshot(), target, overwrite=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("inside", ["state.db", "cache/index.db", "new.db"])
def test_an_export_spares_the_files_of_a_replica(replica, tmp_path, inside):
    before = {path: path.read_bytes() for path in replica.path.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(replica.path)
    for target in (replica.path / inside, tmp_path / "link" / inside):
        with pytest.raises(BadRequest, match="inside the replica"):
            export_file(replica.snapshot(), target, overwrite=True)
    assert {path: path.read_bytes() for path in replica.path.rglob("*") if path.is_file()} == before
