"""What every `CommitLog` promises. A backend's test class inherits this and provides the fixture ``commits``."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from metastore.errors import CommitMissing
from metastore.ids import LogId
from metastore.lsn import LSN, LSN_MAX

LOG = LogId(bytes(range(16)))
OTHER_LOG = LogId(bytes(range(1, 17)))
WRITERS = 12


class LogContract:
    def test_an_empty_log_has_no_head(self, commits):
        assert commits.head(LOG) is None

    def test_what_is_appended_is_read_back(self, commits):
        assert commits.append(LOG, LSN(1), b"first") is True
        assert commits.append(LOG, LSN(2), b"second") is True
        assert [commits.read(LOG, LSN(lsn)) for lsn in (1, 2)] == [b"first", b"second"]

    def test_an_lsn_is_won_once(self, commits):
        assert commits.append(LOG, LSN(1), b"mine")
        assert commits.append(LOG, LSN(1), b"theirs") is False
        assert commits.append(LOG, LSN(1), b"mine") is False, "also for the same bytes"
        assert commits.read(LOG, LSN(1)) == b"mine"

    def test_one_of_twelve_writers_wins(self, commits):
        gate = Barrier(WRITERS)

        def write(number):
            gate.wait()
            return commits.append(LOG, LSN(1), b"writer %d" % number * 100)

        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(write, range(WRITERS)))
        assert won.count(True) == 1
        assert commits.read(LOG, LSN(1)) == b"writer %d" % won.index(True) * 100

    @pytest.mark.parametrize("lsns", [[1], [1, 2, 3], [15, 16, 17], [255, 256, 2**40], [1, LSN_MAX]])
    def test_the_head_is_the_newest_lsn(self, commits, lsns):
        for lsn in lsns:
            commits.append(LOG, LSN(lsn), b"c")
            assert commits.head(LOG) == lsn

    def test_logs_are_apart(self, commits):
        commits.append(LOG, LSN(1), b"one")
        assert commits.head(OTHER_LOG) is None
        with pytest.raises(CommitMissing):
            commits.read(OTHER_LOG, LSN(1))
        assert commits.append(OTHER_LOG, LSN(1), b"other")
        commits.append(OTHER_LOG, LSN(2), b"other")
        assert (commits.head(LOG), commits.read(LOG, LSN(1))) == (1, b"one")

    @pytest.mark.parametrize("range_", [(), (0, 10), (5,), (999_990, 100)])
    def test_an_absent_commit_is_missing(self, commits, range_):
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
    def test_ranges(self, commits, range_, expected):
        commits.append(LOG, LSN(1), b"0123456789")
        found = commits.read(LOG, LSN(1), *range_)
        assert (type(found), found) == (bytes, expected)

    def test_a_large_commit(self, commits):
        data = bytes(range(256)) * 12_000
        assert commits.append(LOG, LSN(1), data)
        assert commits.read(LOG, LSN(1)) == data
        assert commits.read(LOG, LSN(1), 1_000_001, 3) == data[1_000_001:1_000_004]
