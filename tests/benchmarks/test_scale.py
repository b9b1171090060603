"""The simulated log against the code that writes real commits, and docs/scale.md against what it is written from."""

import math

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.scale.command import DOCUMENT, stored
from benchmarks.scale.costs import MONTH_S, Assumptions, Prices, month, opening
from benchmarks.scale.document import document
from benchmarks.scale.encoding import index_bytes
from benchmarks.scale.figures import LENGTHS, VOLUMES, figures_at
from benchmarks.scale.simulation import Workload, requests_of_cold_open, simulate
from metastore.build import build_commit
from metastore.index import CommitIndex, read_chain
from metastore.lsn import LSN
from metastore.rollup import Changes, NewSegment
from metastore.testing import CountingCommitLog, MemoryCommitLog
from pagestore.ids import SegmentId
from pagestore.parallel import Parallel
from pagestore.runtime import Runtime
from pagestore.segments.format import FrameExtent
from tests.metastore.volume_model import LOG, PAGE_SIZE, Place, Version

COMMITS = 700


@pytest.fixture(scope="module", params=[400, 9000])
def both(request):
    """A simulated log, and the same one written for real: its commits by LSN, and the log that holds them."""
    log = simulate(COMMITS, Workload(request.param, seed=3))
    return log, *written(log)


def written(log):
    """Write the commits that a simulated log drew, through the metastore."""
    commits, real, known, pages = MemoryCommitLog(), [None], [], log.workload.pages
    version = Version(pages)
    chance = np.random.default_rng(8)
    runtime = Runtime(now_s=lambda: 1e9, entropy=chance.bytes)
    with Parallel(1) as parallel:
        for lsn in range(1, log.commits + 1):
            segment = SegmentId(chance.bytes(16))
            if lsn == 1:
                frames, offset = [], 40
                for start in range(0, pages, 16):
                    length = 3000 + int(chance.integers(5000))
                    frames.append(FrameExtent(offset, length, tuple(range(start + 1, min(start + 16, pages) + 1))))
                    offset += length
            else:
                changed = tuple(sorted({1, *log.drawn[lsn].tolist()}))
                frames = [FrameExtent(40, 3000 + int(chance.integers(5000)), changed)]
            places = dict(version.places)
            touched = set()
            for frame in frames:
                for slot, page in enumerate(frame.pages):
                    places[page] = Place(segment, frame.offset, slot)
                    touched.add(page)
            version = version.changed(pages, places, touched)
            written = NewSegment(segment, frames, b"" if lsn == 1 else bytes(1000))
            new = build_commit(
                LOG, PAGE_SIZE, Changes([written], pages * PAGE_SIZE, pages, pages),
                sources=known, summary=version, commits=commits, parallel=parallel, runtime=runtime,
            )  # fmt: skip
            assert commits.append(LOG, new.lsn, new.data)
            real.append(CommitIndex.decode(new.data, LOG, new.lsn))
            by_lsn = {index.commit.lsn: index for index in (*known, real[-1])}
            known = read_chain(commits, parallel, LOG, LSN(lsn), known=by_lsn)
    return real, commits


def entries_of(index):
    return sum(index.placement(entry.number).pages for entry in index.commit.directory)


def test_every_commit_lists_what_the_real_one_lists(both):
    log, real, _ = both
    assert [entries_of(index) for index in real[1:]] == log.entries[1:].tolist()
    assert [index.commit.is_base for index in real[1:]] == log.is_base[1:].tolist()
    assert not log.is_base[1:].all()


def test_every_chain_is_as_long_as_the_real_one_and_takes_as_many_requests(both):
    log, _, commits = both
    counting = CountingCommitLog(commits)
    with Parallel(1) as parallel:
        for lsn in range(1, COMMITS + 1):
            assert len(read_chain(counting, parallel, LOG, LSN(lsn))) == log.chain[lsn]
            assert len(counting.taken()) == requests_of_cold_open(np.array([lsn]))[0]


def test_indexes_are_as_large_as_the_real_ones(both):
    log, real, _ = both
    ours = np.array([index_bytes(log, lsn).total for lsn in range(1, COMMITS + 1)])
    theirs = np.array([index.commit.total_length - index.commit.inline_length for index in real[1:]])
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.03)
    assert np.abs(ours / theirs - 1).max() < 0.15


def test_a_long_index_is_counted_from_a_part_of_it(monkeypatch):
    log = simulate(3000, Workload(200_000))
    whole = index_bytes(log, 2048).total
    monkeypatch.setattr("benchmarks.scale.encoding._ENTRIES_MAX", 1000)
    assert index_bytes(log, 2048).total == pytest.approx(whole, rel=0.1)


def test_the_figures_of_the_page_come_from_this_code():
    rows = {(row.volume, row.commits): row for row in stored()}
    assert set(rows) == {(name, length) for name in VOLUMES for length in LENGTHS}
    again = figures_at("1 GB", simulate(10_000, Workload(VOLUMES["1 GB"])), 10_000)
    told = rows["1 GB", 10_000]
    for name in ("entries_mean", "chain_mean", "requests_mean", "index_bytes_mean", "cold_index_bytes"):
        assert getattr(told, name) == pytest.approx(getattr(again, name), rel=0.02), name
    assert (told.bases, told.chain_max, told.requests_max) == (again.bases, again.chain_max, again.requests_max)


def test_nothing_but_the_newest_index_grows_by_more_than_the_logarithm():
    for name in VOLUMES:
        of_volume = [row for row in stored() if row.volume == name]
        for row in of_volume:
            assert row.requests_max <= math.log2(row.commits) + 1
            assert row.entries_mean <= 4 * (math.log2(row.commits) / 2 + 1)


def test_the_page_is_what_the_command_writes():
    text = DOCUMENT.read_text()
    assert document(text, stored()) == text, "run python -m benchmarks scale --write"


def test_prices_and_assumptions_count():
    row = stored()[0]
    cheap = month(row, 10, 1.0, Prices(get=0, put=0, gb_month=0, gb_out=0), Assumptions())
    assert (cheap.dollars_requests, cheap.dollars_storage, cheap.dollars_traffic) == (0, 0, 0)
    usual = month(row, 10, 1.0, Prices(), Assumptions())
    assert usual.put_requests == MONTH_S
    assert usual.get_requests >= 10 * 2 * MONTH_S
    assert month(row, 10_000, 1.0, Prices(), Assumptions()).get_requests == pytest.approx(1000 * usual.get_requests)
    patient = month(row, 10, 1.0, Prices(), Assumptions(follow_interval_s=30))
    assert patient.dollars_requests < usual.dollars_requests
    assert patient.lag_s == 30
    assert opening(row).requests <= 2 + math.log2(row.commits) + 1


def test_the_command(capsys, tmp_path):
    assert main(["scale", "--commits", "1000", "--only", "1 GB", "--json", str(tmp_path / "rows.json")]) == 0
    out = capsys.readouterr().out
    assert "| 1 GB | 1,000 |" in out
    assert (tmp_path / "rows.json").exists()


def test_a_page_without_a_place_for_the_figures():
    with pytest.raises(ValueError, match="no place for the figures"):
        document("# Scale\n", stored())
