"""In which log a version is."""

import pytest

from metastore.ids import LogId, VolumeId
from metastore.lineage import Lineage, Parent
from metastore.lsn import LSN

MAIN, EXPERIMENT, TRIAL = (
    Lineage(VolumeId(bytes([0] * 16)), LogId(bytes([0] * 16))),
    Lineage(
        VolumeId(bytes([1] * 16)), LogId(bytes([1] * 16)),
        (Parent(volume=VolumeId(bytes(16)), log=LogId(bytes(16)), lsn=LSN(4)),),
    ),
    Lineage(
        VolumeId(bytes([2] * 16)), LogId(bytes([2] * 16)),
        (
            Parent(volume=VolumeId(bytes([1] * 16)), log=LogId(bytes([1] * 16)), lsn=LSN(6)),
            Parent(volume=VolumeId(bytes(16)), log=LogId(bytes(16)), lsn=LSN(4)),
        ),
    ),
)  # fmt: skip


def test_each_version_is_in_one_log():
    assert [MAIN.log_of(lsn).raw[0] for lsn in range(1, 9)] == [0] * 8
    assert [EXPERIMENT.log_of(lsn).raw[0] for lsn in range(1, 9)] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [TRIAL.log_of(lsn).raw[0] for lsn in range(1, 9)] == [0, 0, 0, 0, 1, 1, 2, 2]


def test_where_the_own_log_begins():
    assert (MAIN.start, EXPERIMENT.start, TRIAL.start) == (0, 4, 6)


@pytest.mark.parametrize("of", [MAIN, EXPERIMENT, TRIAL])
@pytest.mark.parametrize("lsn", range(1, 9))
def test_a_fork_sees_all_that_came_before_it(of, lsn):
    fork = Lineage(VolumeId(bytes([9] * 16)), LogId(bytes([9] * 16)), of.up_to(LSN(lsn)))
    assert fork.start == lsn
    assert [fork.log_of(each) for each in range(1, lsn + 1)] == [of.log_of(each) for each in range(1, lsn + 1)]
    assert fork.log_of(lsn + 1) == fork.log
    assert {parent.volume.raw[0] for parent in fork.earlier} == {fork.log_of(each).raw[0] for each in range(1, lsn + 1)}


def test_a_fork_of_the_empty_version_has_no_ancestors():
    assert TRIAL.up_to(LSN(0)) == ()
