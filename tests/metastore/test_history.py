"""Looking back: by time in few requests, and commit by commit."""

import math

import pytest

from metastore.commit_codec import encode_commit
from metastore.errors import CommitMissing
from metastore.history import lsn_at, newest_first
from metastore.lsn import LSN
from metastore.testing import CountingCommitLog, MemoryCommitLog
from pagestore.parallel import Parallel
from tests.metastore.sample_commit import LOG, draft
from tests.metastore.volume_model import LOG as MODEL_LOG
from tests.metastore.volume_model import written_volume


def log_with_times(times):
    commits = CountingCommitLog(MemoryCommitLog())
    for lsn, timestamp_us in enumerate(times, 1):
        each = draft(lsn=LSN(lsn), covers_after=0, base=LSN(lsn), min_page_count=0, timestamp_us=timestamp_us)
        commits.append(LOG, LSN(lsn), encode_commit(each))
    return commits


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 100])
def test_every_time_finds_its_lsn_in_log2_requests(count):
    times = [1000 + 10 * lsn for lsn in range(1, count + 1)]
    commits = log_with_times(times)
    for asked in range(1005, 1020 + 10 * count, 5):
        commits.taken()
        expected = sum(time <= asked for time in times)
        assert lsn_at(commits, LOG, LSN(count), asked) == expected
        assert len(commits.taken()) <= math.ceil(math.log2(count + 1))


@pytest.mark.parametrize(("asked", "expected"), [(0, 0), (4, 0), (5, 3), (6, 3), (7, 5), (99, 6)])
def test_equal_times_give_the_newest(asked, expected):
    assert lsn_at(log_with_times([5, 5, 5, 7, 7, 8]), LOG, LSN(6), asked) == expected


def test_an_empty_log_has_nothing_at_any_time():
    commits = log_with_times([])
    assert lsn_at(commits, LOG, LSN(0), 10**18) == 0
    assert commits.reads == []


def test_only_commits_up_to_the_head_count():
    assert lsn_at(log_with_times([1, 2, 3, 4]), LOG, LSN(2), 99) == 2


def test_writers_whose_clocks_go_back_still_write_growing_times():
    volume = written_volume(MemoryCommitLog(), Parallel(1), 8, 60)
    commits = list(newest_first(volume.commits, Parallel(1), MODEL_LOG, volume.head))
    times = [commit.timestamp_us for commit in commits]
    assert times == sorted(set(times), reverse=True)
    for commit in commits:
        assert lsn_at(volume.commits, MODEL_LOG, volume.head, commit.timestamp_us) == commit.lsn


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130])
def test_newest_first_yields_each_commit_once(count):
    commits = log_with_times(range(count))
    found = [commit.lsn for commit in newest_first(commits, Parallel(1), LOG, LSN(count))]
    assert found == list(range(count, 0, -1))
    assert len(commits.reads) == count


def test_newest_first_reads_no_further_than_it_is_followed():
    commits = log_with_times(range(130))
    with Parallel(4) as parallel:
        found = newest_first(commits, parallel, LOG, LSN(130))
        assert [next(found).lsn for _ in range(3)] == [130, 129, 128]
        found.close()
    assert len(commits.reads) <= 64


def test_a_hole_is_told():
    commits = log_with_times(range(5))
    del commits.inner.objects[LOG, LSN(3)]
    found = newest_first(commits, Parallel(1), LOG, LSN(5))
    assert [next(found).lsn, next(found).lsn] == [5, 4]
    with pytest.raises(CommitMissing, match="commit 3"):
        next(found)
