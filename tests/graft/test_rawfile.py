"""A volume as a seekable binary file, against io.BytesIO."""

import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graft.clone import clone
from graft.errors import BadRequest, LocalStorageError, WriterBusy
from graft.push import push
from graft.rawfile import open_file, open_snapshot
from graft.timetravel import snapshot_at
from graft.transfer import export_file, import_file
from tests.graft.support import content, fast_directory, fresh_store, new_replica, small_settings

OFFSETS = st.integers(0, 3000)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), OFFSETS, st.binary(max_size=1500)),
        st.tuples(st.just("read"), OFFSETS, st.integers(0, 2000)),
        st.tuples(st.just("truncate"), OFFSETS, st.none()),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=3))
def test_is_like_a_file_in_memory(sessions):
    model = io.BytesIO()
    with fast_directory() as directory, new_replica(directory / "r", fresh_store()) as replica:
        for steps in sessions:
            with open_file(replica, "r+b") as file:
                for what, offset, value in steps:
                    assert file.seek(offset) == model.seek(offset)
                    if what == "write":
                        assert file.write(value) == model.write(value)
                    elif what == "read":
                        assert file.read(value) == model.read(value)
                    else:
                        file.truncate(offset)
                        if offset <= len(model.getvalue()):
                            model.truncate(offset)
                        else:
                            model.write(b"") if len(model.getvalue()) >= offset else _extend(model, offset)
                    assert file.seek(0, io.SEEK_END) == len(model.getvalue())
            assert content(replica.snapshot()) == model.getvalue()
            with open_file(replica) as file:
                assert file.read() == model.getvalue()


def _extend(model, size):
    model.seek(0, io.SEEK_END)
    model.write(bytes(size - len(model.getvalue())))


def test_a_failed_block_commits_nothing(tmp_path):
    with new_replica(tmp_path / "r", fresh_store()) as replica:
        with open_file(replica, "wb") as file:
            file.write(b"kept")
        with pytest.raises(RuntimeError, match="no"), open_file(replica, "r+b") as file:
            file.write(b"lost")
            raise RuntimeError("no")
        with open_file(replica) as file:
            assert file.read() == b"kept"
        with open_file(replica, "wb") as file:
            file.write(b"new")
        assert content(replica.snapshot()) == b"new"


def test_one_writer_and_good_modes(tmp_path):
    with new_replica(tmp_path / "r", fresh_store()) as replica, open_file(replica, "wb"):
        with pytest.raises(WriterBusy):
            open_file(replica, "r+b")
        with pytest.raises(BadRequest, match="no such mode"):
            open_file(replica, "a")
        with open_file(replica) as file, pytest.raises(ValueError, match="seek"):
            file.seek(-1)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100_003])
def test_import_push_clone_export(tmp_path, size):
    data, store = os.urandom(size), fresh_store()
    (tmp_path / "in").write_bytes(data)
    with new_replica(tmp_path / "r", store) as replica:
        seen = []
        assert import_file(replica, tmp_path / "in", progress=lambda *at: seen.append(at)).bytes == size
        assert not seen or seen[-1] == (size, size)
        push(replica)
        with open_file(replica, "wb") as file:
            file.write(b"later")
        push(replica)
    with clone(tmp_path / "c", f"{store.url}#vol", store=store, settings=small_settings()) as other:
        assert content(other.snapshot()) == b"later"
        if size:
            assert open_snapshot(snapshot_at(other, 1)).read() == data
            assert export_file(snapshot_at(other, 1), tmp_path / "out").bytes == size
            assert (tmp_path / "out").read_bytes() == data
            with pytest.raises(BadRequest, match="exists"):
                export_file(other.snapshot(), tmp_path / "out")
            export_file(other.snapshot(), tmp_path / "out", overwrite=True)
            assert (tmp_path / "out").read_bytes() == b"later"
    assert not list(tmp_path.glob(".*.part"))


def test_what_cannot_be_imported(tmp_path):
    with new_replica(tmp_path / "r", fresh_store()) as replica:
        with pytest.raises(LocalStorageError, match="nowhere"):
            import_file(replica, tmp_path / "nowhere")
        with pytest.raises((BadRequest, LocalStorageError)):
            import_file(replica, tmp_path)
        assert replica.snapshot().page_count == 0
        assert not list((tmp_path / "r" / "journal").glob("*.tmp"))
