"""The commit logs of the kit keep the contract, and the contract notices logs that do not."""

import pytest

from metastore.errors import LogUnavailable
from metastore.lsn import LSN
from metastore.testing import CommitLogContract, CountingCommitLog, FaultyCommitLog, MemoryCommitLog
from metastore.testing.commit_log_contract import LOG


class TestMemoryCommitLog(CommitLogContract):
    @pytest.fixture
    def commits(self):
        return MemoryCommitLog()


class TestCountingCommitLog(CommitLogContract):
    @pytest.fixture
    def commits(self):
        return CountingCommitLog(MemoryCommitLog())


class TestFaultyCommitLogWithoutFaults(CommitLogContract):
    @pytest.fixture
    def commits(self):
        return FaultyCommitLog()


def test_reads_are_counted_until_they_are_taken():
    commits = CountingCommitLog(MemoryCommitLog())
    commits.append(LOG, LSN(1), b"0123")
    commits.read(LOG, LSN(1))
    commits.read(LOG, LSN(1), 1, 2)
    assert commits.taken() == [(1, 0, None), (1, 1, 2)]
    assert commits.taken() == []


@pytest.mark.parametrize("lands", [True, False])
def test_an_append_whose_reply_is_lost(lands):
    commits = FaultyCommitLog(append_fails=True, lands=lands)
    with pytest.raises(LogUnavailable):
        commits.append(LOG, LSN(1), b"mine")
    assert commits.head(LOG) == (1 if lands else None)


class Overwriting(MemoryCommitLog):
    def append(self, log, lsn, data):
        self.objects[log, lsn] = data
        return True


class Oldest(MemoryCommitLog):
    def head(self, log):
        return min(self.lsns(log), default=None)


class Mixing(MemoryCommitLog):
    """Keeps the commits of all logs together."""

    def append(self, log, lsn, data):
        return super().append(LOG, lsn, data)

    def read(self, log, lsn, start=0, length=None):
        return super().read(LOG, lsn, start, length)


@pytest.mark.parametrize(
    ("broken", "test", "arguments"),
    [
        (Overwriting, CommitLogContract.test_an_lsn_is_won_once, ()),
        (Overwriting, CommitLogContract.test_one_of_twelve_writers_wins, ()),
        (Oldest, CommitLogContract.test_the_head_is_the_newest_lsn, ([1, 2, 3],)),
        (Mixing, CommitLogContract.test_logs_are_apart, ()),
    ],
)
def test_a_broken_log_is_found_out(broken, test, arguments):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(CommitLogContract(), broken(), *arguments)
    test(CommitLogContract(), MemoryCommitLog(), *arguments)
