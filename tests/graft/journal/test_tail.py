"""The file that commits are appended to, as its writer keeps it open."""

import os
from pathlib import Path

import pytest

from graft.journal.format import HEADER_BYTES
from graft.journal.journal import Journal

PAGE = 512


def append(journal, page, *, sync=True):
    return journal.append(
        [page], [bytes([page]) * PAGE], byte_size=8 * PAGE, min_page_count=8, timestamp_us=0, sync=sync
    )


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path, PAGE, file_bytes=4 * 1024 * 1024)
    journal.start_after(0)
    yield journal
    journal.close()


def test_a_file_that_somebody_deleted_is_not_written_to(tmp_path, journal):
    append(journal, 1)
    (path,) = tmp_path.iterdir()
    path.unlink()
    append(journal, 2)
    reader = Journal(tmp_path, PAGE, file_bytes=4 * 1024 * 1024)
    reader.start_after(1)
    assert [commit.pages.tolist() for commit in reader.read_new()] == [[2]]
    reader.close()


def test_a_deleted_file_whose_descriptor_is_another_ones(tmp_path, journal):
    append(journal, 1)
    journal.close()
    journal.start_after(0)
    assert len(list(journal.read_new(1))) == 1
    (path,) = tmp_path.iterdir()
    path.unlink()
    assert append(journal, 2).local_lsn == 2
    assert [path.name for path in tmp_path.iterdir()] == [f"{2:016x}.log"]


@pytest.mark.parametrize("sync", [True, False])
def test_locations_lead_to_the_bodies(journal, sync):
    for page in (3, 1, 2):
        commit = append(journal, page, sync=sync)
        (location,) = commit.locations.tolist()
        offset = location & ((1 << 42) - 1)
        assert offset > HEADER_BYTES
        assert bytes(journal.views[0][offset : offset + PAGE]) == bytes([page]) * PAGE


def test_zeros_ahead_are_no_commits(tmp_path, journal):
    append(journal, 1)
    journal.close()
    again = Journal(tmp_path, PAGE, file_bytes=4 * 1024 * 1024)
    again.start_after(0)
    assert [commit.pages.tolist() for commit in again.read_new()] == [[1]]
    again.drop_torn_tail()
    assert append(again, 2).local_lsn == 2
    again.close()


def test_a_full_disk_for_the_zeros_ahead_is_no_error(monkeypatch, journal):
    append(journal, 1, sync=False)
    write = os.pwritev

    def refuses_long_writes(descriptor, parts, position):
        if sum(map(len, parts)) > 64 * 1024:
            raise OSError(28, "No space left on device")
        return write(descriptor, parts, position)

    monkeypatch.setattr(os, "pwritev", refuses_long_writes)
    assert append(journal, 2).local_lsn == 2


def test_closing_leaves_no_descriptor(tmp_path):
    before = len(list(Path("/dev/fd").iterdir()))
    journal = Journal(tmp_path, PAGE, file_bytes=64 * 1024)
    journal.start_after(0)
    for page in range(1, 250):  # several files
        append(journal, page, sync=False)
    assert len(list(tmp_path.iterdir())) > 1
    journal.close()
    del journal
    assert len(list(Path("/dev/fd").iterdir())) == before
