"""What every `CommitLog` must do, as a class of tests to inherit."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from metastore.commitlog import CommitLog
from metastore.errors import CommitMissing
from metastore.ids import LogId
from metastore.lsn import LSN, LSN_MAX

LOG = LogId(bytes(range(16)))
OTHER_LOG = LogId(bytes(range(1, 17)))
WRITERS = 12


class CommitLogContract:
    """The tests of a `CommitLog`: a backend's test class inherits them and overrides ``commits``."""

    @pytest.fixture
    def commits(self) -> CommitLog:
        """Override this: return or yield a log store without commits."""
        raise NotImplementedError("a subclass of CommitLogContract overrides the fixture commits")

    def test_an_empty_log_has_no_head(self, commits: CommitLog) -> None:
        assert commits.head(LOG) is None
        assert commits.newest(LOG) is None
        assert [*commits.lsns(LOG)] == []

    def test_what_is_appended_is_read_back(self, commits: CommitLog) -> None:
        assert commits.append(LOG, LSN(1), b"first") is True
        assert commits.append(LOG, LSN(2), b"second") is True
        assert [commits.read(LOG, LSN(lsn)) for lsn in (1, 2)] == [b"first", b"second"]

    def test_an_lsn_is_won_once(self, commits: CommitLog) -> None:
        assert commits.append(LOG, LSN(1), b"mine")
        assert commits.append(LOG, LSN(1), b"theirs") is False
        assert commits.append(LOG, LSN(1), b"mine") is False, "also for the same bytes"
        assert commits.read(LOG, LSN(1)) == b"mine"

    def test_one_of_twelve_writers_wins(self, commits: CommitLog) -> None:
        gate = Barrier(WRITERS)

        def write(number: int) -> bool:
            gate.wait()
            return commits.append(LOG, LSN(1), b"writer %d" % number * 100)

        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(write, range(WRITERS)))
        assert won.count(True) == 1
        assert commits.read(LOG, LSN(1)) == b"writer %d" % won.index(True) * 100

    @pytest.mark.parametrize("lsns", [[1], [1, 2, 3], [15, 16, 17], [255, 256, 2**40], [1, LSN_MAX]])
    def test_the_head_is_the_newest_lsn(self, commits: CommitLog, lsns: list[int]) -> None:
        for lsn in lsns:
            commits.append(LOG, LSN(lsn), b"c")
            assert commits.head(LOG) == lsn
            assert (newest := commits.newest(LOG)) is not None
            assert newest.lsn == max(newest.etags) == lsn
        assert [*commits.lsns(LOG)] == sorted(lsns, reverse=True)

    def test_an_etag_lasts_as_long_as_its_commit(self, commits: CommitLog) -> None:
        """An empty ETag is allowed: the log does not say."""
        commits.append(LOG, LSN(1), b"one")
        first = commits.newest(LOG)
        commits.append(LOG, LSN(1), b"too late")
        commits.append(LOG, LSN(2), b"two")
        second = commits.newest(LOG)
        assert first is not None
        assert second is not None
        assert first.etag(LSN(1)) == second.etag(LSN(1))
        assert second.etag(LSN(1)) != second.etag(LSN(2)) or not second.etag(LSN(1))
        assert second.etag(LSN(7)) == "", "of a commit that does not exist"

    def test_logs_are_apart(self, commits: CommitLog) -> None:
        commits.append(LOG, LSN(1), b"one")
        assert commits.head(OTHER_LOG) is None
        with pytest.raises(CommitMissing):
            commits.read(OTHER_LOG, LSN(1))
        assert commits.append(OTHER_LOG, LSN(1), b"other")
        commits.append(OTHER_LOG, LSN(2), b"other")
        assert (commits.head(LOG), commits.read(LOG, LSN(1))) == (1, b"one")

    @pytest.mark.parametrize("range_", [(), (0, 10), (5,), (999_990, 100)])
    def test_an_absent_commit_is_missing(self, commits: CommitLog, range_: tuple[int, ...]) -> None:
        commits.append(LOG, LSN(2), b"c")
        for lsn in (1, 3):
            with pytest.raises(CommitMissing, match=f"{LOG}"):
                commits.read(LOG, LSN(lsn), *range_)

    @pytest.mark.parametrize(
        ("range_", "expected"),
        [
            ((), b"0123456789"),
            ((0,), b"0123456789"),
            ((4,), b"456789"),
            ((10,), b""),
            ((0, 3), b"012"),
            ((3, 4), b"3456"),
            ((8, 100), b"89"),
            ((0, 10_000_000), b"0123456789"),
        ],
    )
    def test_ranges(self, commits: CommitLog, range_: tuple[int, ...], expected: bytes) -> None:
        commits.append(LOG, LSN(1), b"0123456789")
        found = commits.read(LOG, LSN(1), *range_)
        assert (type(found), found) == (bytes, expected)

    def test_a_large_commit(self, commits: CommitLog) -> None:
        data = bytes(range(256)) * 12_000
        assert commits.append(LOG, LSN(1), data)
        assert commits.read(LOG, LSN(1)) == data
        assert commits.read(LOG, LSN(1), 1_000_001, 3) == data[1_000_001:1_000_004]
