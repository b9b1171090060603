"""A refused append is a question, and settling answers it."""

import random

import pytest

from metastore.append import Absent, Landed, Lost, append, settle
from metastore.commit_codec import decode_commit, encode_commit
from metastore.errors import CorruptCommit, LogUnavailable
from metastore.index import HEAD_READ_BYTES
from metastore.lsn import LSN
from metastore.placement import OwnObject, SegmentRef
from metastore.testing import CountingCommitLog, FaultyCommitLog, MemoryCommitLog
from pagestore.ids import SegmentId
from pagestore.parallel import Parallel
from tests.metastore import sample_commit
from tests.metastore.volume_model import LOG, ModelVolume, Push, Step

ONE = LSN(1)


def new_commit(seed, pages=frozenset({1, 2}), **push):
    volume = ModelVolume(MemoryCommitLog(), Parallel(1), seed)
    return volume.push(Push((Step(max(pages), pages),), **push))


@pytest.fixture
def mine():
    return new_commit(1)


@pytest.fixture
def theirs():
    return new_commit(2)


def appended(commits, new):
    return append(commits, new.log, new.lsn, new.data, new.nonce)


def test_a_good_append_takes_no_read(mine):
    commits = CountingCommitLog(MemoryCommitLog())
    assert appended(commits, mine) == Landed()
    assert commits.reads == []


def test_a_lost_reply_has_landed(mine):
    commits = CountingCommitLog(FaultyCommitLog(append_fails=True))
    assert appended(commits, mine) == Landed()
    assert len(commits.reads) == 1


def test_a_retry_below_us_that_finds_itself_has_landed(mine):
    assert appended(FaultyCommitLog(refuses=True), mine) == Landed()


def test_a_second_try_of_a_landed_append_has_landed(mine):
    commits = MemoryCommitLog()
    assert appended(commits, mine) == Landed()
    assert append(commits, mine.log, mine.lsn, bytes(bytearray(mine.data)), mine.nonce) == Landed()


def test_somebody_else_was_first(mine, theirs):
    winner = decode_commit(theirs.data, LOG, ONE)
    assert appended(MemoryCommitLog({(LOG, ONE): theirs.data}), mine) == Lost(winner)


def test_somebody_else_was_first_while_our_reply_got_lost(mine, theirs):
    commits = FaultyCommitLog({(LOG, ONE): theirs.data}, append_fails=True)
    outcome = appended(commits, mine)
    assert isinstance(outcome, Lost)
    assert outcome.winner.nonce == theirs.nonce


def test_an_append_that_did_not_land_is_not_known_to_have_failed(mine):
    commits = FaultyCommitLog(lands=False, append_fails=True)
    with pytest.raises(LogUnavailable, match="the reply was lost"):
        appended(commits, mine)
    assert settle(commits, LOG, ONE, mine.nonce) == Absent()


def test_a_refusal_of_an_lsn_that_nobody_has_is_unavailable(mine):
    with pytest.raises(LogUnavailable, match=f"commit 1 to log {LOG} was refused, yet no commit has that LSN"):
        appended(FaultyCommitLog(lands=False), mine)


def test_an_outcome_that_cannot_be_asked_for_is_unavailable(mine):
    with pytest.raises(LogUnavailable, match="no connection"):
        appended(FaultyCommitLog(append_fails=True, reads_fail=True), mine)


def test_a_corrupt_winner_is_told(mine):
    with pytest.raises(CorruptCommit, match="commit 1 of log"):
        appended(MemoryCommitLog({(LOG, ONE): mine.data[:100]}), mine)


def test_settling_reads_a_head_of_any_size():
    chance = random.Random(1)
    refs = [SegmentRef(SegmentId(chance.randbytes(16)), OwnObject()) for _ in range(9000)]
    draft = sample_commit.draft(segments=refs)
    data = encode_commit(draft)
    assert len(data) > HEAD_READ_BYTES
    commits = CountingCommitLog(MemoryCommitLog({(draft.log, draft.lsn): data}))
    assert settle(commits, draft.log, draft.lsn, draft.nonce) == Landed()
    assert [start for _, start, _ in commits.reads] == [0, HEAD_READ_BYTES]
    outcome = settle(commits, draft.log, draft.lsn, bytes(16))
    assert isinstance(outcome, Lost)
    assert outcome.winner.segments == tuple(refs)
