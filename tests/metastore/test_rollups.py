"""Roll-ups against the naive model: every LSN of a log reads as it was, in few requests."""

import dataclasses
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metastore.commit_codec import decode_commit
from metastore.errors import CommitMissing, CorruptCommit
from metastore.index import CommitIndex, read_chain
from metastore.lsn import BEFORE_FIRST, LSN, chain, covers_after
from metastore.testing import CountingCommitLog, MemoryCommitLog
from pagestore.parallel import Parallel
from tests.metastore.volume_model import (
    CUTS,
    LOG,
    PAGE_POOL,
    SIZE_POOL,
    ModelVolume,
    Push,
    Step,
    cut_and_regrown,
    growing_push,
    places_of,
    random_push,
    written_volume,
)

SERIAL = Parallel(1)


@pytest.fixture(
    scope="module", params=[(random_push, 1), (random_push, 2), (random_push, 3), (growing_push, 4), (growing_push, 5)]
)
def volume(request):
    make, seed = request.param
    return written_volume(CountingCommitLog(MemoryCommitLog()), SERIAL, seed, 130, make=make)


def all_lsns(volume):
    return [LSN(lsn) for lsn in range(1, volume.head + 1)]


def newest_base(volume, lsn):
    bases = [each for each in all_lsns(volume)[:lsn] if commit_of(volume, each).is_base]
    return bases[-1]


def commit_of(volume, lsn):
    return decode_commit(volume.commits.inner.objects[LOG, lsn], LOG, lsn)


def test_every_lsn_reads_as_it_was(volume):
    for lsn in all_lsns(volume):
        sources = read_chain(volume.commits, SERIAL, LOG, lsn)
        version = volume.versions[lsn]
        assert places_of(sources) == version.places
        head = sources[0].commit
        assert (head.page_count, head.live_pages) == (version.page_count, version.live_pages)
        assert head.fingerprint == version.fingerprint
        for source in sources:
            for entry in source.commit.directory:
                expected = volume.versions[source.commit.lsn].chunk_fingerprint(entry.number)
                assert entry.fingerprint == expected


def test_a_cold_read_takes_one_batch_of_log2_requests_and_stops_at_the_base(volume):
    for lsn in all_lsns(volume):
        volume.commits.taken()
        sources = read_chain(volume.commits, SERIAL, LOG, lsn)
        asked = [asked_lsn for asked_lsn, _, _ in volume.commits.taken()]
        assert asked == chain(lsn)
        assert len(asked) == lsn.bit_count() <= lsn.bit_length()
        used = [source.commit.lsn for source in sources]
        assert used == asked[: len(used)]
        assert used[-1] == sources[0].commit.base == newest_base(volume, lsn)


def test_any_pull_reads_only_what_is_newer_than_what_is_known(volume):
    lsns = all_lsns(volume)
    some = random.Random(0).sample(list(itertools.combinations(lsns, 2)), 600)
    for older, newer in [*some, *itertools.pairwise(lsns)]:
        known = {index.commit.lsn: index for index in read_chain(volume.commits, SERIAL, LOG, older)}
        volume.commits.taken()
        pulled = read_chain(volume.commits, SERIAL, LOG, newer, known=known)
        assert all(lsn > older for lsn, _, _ in volume.commits.taken())
        cold = read_chain(volume.commits, SERIAL, LOG, newer)
        assert [index.commit for index in pulled] == [index.commit for index in cold]
        back = read_chain(volume.commits, SERIAL, LOG, older, known={index.commit.lsn: index for index in cold})
        assert [index.commit for index in back] == [index.commit for index in known.values()]


def test_a_chain_after_an_lsn_covers_what_changed_since(volume):
    lsns = all_lsns(volume)
    for older, newer in random.Random(1).sample(list(itertools.combinations(lsns, 2)), 200):
        sources = read_chain(volume.commits, SERIAL, LOG, newer, older)
        assert sources[-1].commit.covers_after <= older
        before, after = volume.versions[older], volume.versions[newer]
        found = places_of(sources)
        changed = {page for page, place in after.places.items() if before.places.get(page) != place}
        assert {page: found[page] for page in changed} == {page: after.places[page] for page in changed}


def test_roll_ups_keep_the_rules_of_the_format(volume):
    base = BEFORE_FIRST
    hashes = {0: bytes(16)}
    for lsn in all_lsns(volume):
        index = CommitIndex.decode(volume.commits.inner.objects[LOG, lsn], LOG, lsn)
        commit, version = index.commit, volume.versions[lsn]
        listed = sum(index.placement(entry.number).pages for entry in commit.directory)
        bound = covers_after(lsn)
        if commit.is_base:
            base = lsn
            assert (listed, commit.min_page_count) == (version.live_pages, 0)
            assert all(index.placement(entry.number).pages for entry in commit.directory)
        else:
            assert commit.covers_after == bound
            assert listed * 2 < version.live_pages
            covered = volume.versions[bound + 1 : lsn + 1]
            assert commit.min_page_count <= min(each.page_count for each in covered)
            assert base <= bound, "a roll-up whose range holds a base is a base"
        assert commit.base == base
        assert commit.parent_hash == hashes[lsn - 1]
        hashes[lsn] = commit.hash
        named = {ordinal for entry in commit.directory for ordinal in index.placement(entry.number).frame_segment}
        assert named == set(range(len(commit.segments))), "no segment in the table without a page"
    times = [commit_of(volume, lsn).timestamp_us for lsn in all_lsns(volume)]
    assert all(older < newer for older, newer in itertools.pairwise(times))


def test_the_model_has_both_kinds_of_commits():
    volume = written_volume(MemoryCommitLog(), SERIAL, 4, 130, make=growing_push)
    commits = [decode_commit(volume.commits.objects[LOG, lsn], LOG, lsn) for lsn in all_lsns(volume)]
    bases = sum(commit.is_base for commit in commits)
    assert 8 < bases < 65
    assert max(len(chain(commit.lsn, commit.base)) for commit in commits) >= 4


@st.composite
def pushes(draw):
    page_counts = st.sampled_from(SIZE_POOL)
    steps = st.builds(Step, page_counts, st.frozensets(st.sampled_from(PAGE_POOL), max_size=4))
    return draw(
        st.lists(
            st.builds(
                Push,
                st.lists(steps, min_size=1, max_size=3).map(tuple),
                frame_pages=st.integers(1, 3),
                inline_bytes=st.sampled_from([0, 7]),
                shuffled=st.booleans(),
                top_inline=st.booleans(),
            ),
            max_size=16,
        )
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(pushes())
def test_any_history_reads_as_it_was(history):
    volume = ModelVolume(MemoryCommitLog(), SERIAL)
    volume.push(Push((Step(8200, frozenset(PAGE_POOL)),)))
    for each in history:
        volume.push(each)
    for lsn in all_lsns(volume):
        sources = read_chain(volume.commits, SERIAL, LOG, lsn)
        assert places_of(sources) == volume.versions[lsn].places
        assert sources[0].commit.fingerprint == volume.versions[lsn].fingerprint


@pytest.mark.parametrize("regrown", [True, False])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_at_any_place_is_carried_along(cut, regrown):
    volume = cut_and_regrown(MemoryCommitLog(), SERIAL, cut, regrown=regrown)
    for lsn in all_lsns(volume):
        sources = read_chain(volume.commits, SERIAL, LOG, lsn)
        assert places_of(sources) == volume.versions[lsn].places
        if lsn == 6 and cut > 1000:
            assert [source.commit.lsn for source in sources] == [6, 4], "no base, else this proves little"
            numbers = {entry.number for entry in sources[0].commit.directory}
            assert numbers >= ({(cut - 1) // 4096} if cut % 4096 else set())


def test_a_commit_that_cuts_nothing_mentions_what_it_writes_alone():
    volume = written_volume(MemoryCommitLog(), SERIAL, 0, 2)
    volume.push(Push((Step(8200, frozenset({1})),)))
    volume.push(Push((Step(8200, frozenset()),), rewrites_all=True))
    new = volume.push(Push((Step(8200, frozenset({1})),)))
    commit = decode_commit(new.data, LOG, new.lsn)
    assert not commit.is_base
    assert [entry.number for entry in commit.directory] == [0]


def test_a_volume_may_begin_empty_and_become_empty_again():
    volume = ModelVolume(MemoryCommitLog(), SERIAL)
    volume.push(Push((Step(0, frozenset()),)))
    volume.push(Push((Step(5000, frozenset()),)))
    volume.push(Push((Step(5000, frozenset({1, 4999})),)))
    volume.push(Push((Step(0, frozenset()),)))
    volume.push(Push((Step(5000, frozenset()),)))
    for lsn in all_lsns(volume):
        assert places_of(read_chain(volume.commits, SERIAL, LOG, lsn)) == volume.versions[lsn].places
    assert volume.versions[3].live_pages == 2


def grown(pushes_count=13):
    volume = ModelVolume(CountingCommitLog(MemoryCommitLog()), SERIAL)
    volume.push(Push((Step(8200, frozenset(PAGE_POOL)),)))
    for number in range(1, pushes_count):
        volume.push(Push((Step(8200, frozenset({PAGE_POOL[number]})),)))
    return volume


def test_a_hole_in_the_chain_is_told():
    volume = grown()
    objects = volume.commits.inner.objects
    assert [source.commit.lsn for source in read_chain(volume.commits, SERIAL, LOG, LSN(13))] == [13, 12, 8]
    for lsn in (13, 12, 8):
        lost = objects.pop((LOG, LSN(lsn)))
        with pytest.raises(CommitMissing, match=f"commit {lsn} of log l-00"):
            read_chain(volume.commits, SERIAL, LOG, LSN(13))
        objects[LOG, LSN(lsn)] = lost
    for lsn in (1, 2, 3, 7, 9, 10, 11):
        objects.pop((LOG, LSN(lsn)))
    assert places_of(read_chain(volume.commits, SERIAL, LOG, LSN(13))) == volume.versions[13].places


def test_a_hole_below_the_base_is_none():
    volume = grown(12)
    volume.push(Push((Step(8200, frozenset()),), rewrites_all=True))
    assert commit_of(volume, LSN(13)).is_base
    volume.commits.inner.objects = {(LOG, LSN(13)): volume.commits.inner.objects[LOG, LSN(13)]}
    assert places_of(read_chain(volume.commits, SERIAL, LOG, LSN(13))) == volume.versions[13].places


def test_a_known_base_ends_what_is_asked_for():
    volume = grown(11)
    volume.push(Push((Step(8200, frozenset()),), rewrites_all=True))
    volume.push(Push((Step(8200, frozenset({3})),)))
    known = {LSN(12): read_chain(volume.commits, SERIAL, LOG, LSN(12))[0]}
    volume.commits.taken()
    sources = read_chain(volume.commits, SERIAL, LOG, LSN(13), known=known)
    assert [lsn for lsn, _, _ in volume.commits.taken()] == [13]
    assert [source.commit.lsn for source in sources] == [13, 12]


def test_an_empty_log_has_an_empty_chain():
    assert read_chain(MemoryCommitLog(), SERIAL, LOG, BEFORE_FIRST) == []


def forged(volume, lsn, **changes):
    """Return the index of a commit with some fields as no honest writer sets them."""
    index = CommitIndex.decode(volume.commits.inner.objects[LOG, lsn], LOG, lsn)
    return CommitIndex(dataclasses.replace(index.commit, **changes), index.head, index.chunks)


@pytest.mark.parametrize(
    ("lsn", "changes", "message"),
    [
        (13, {"base": LSN(4)}, "commit 13 names base 4, but 8 is one too"),
        (12, {"page_size": 512}, "commit 12 has pages of 512 bytes, 13 of 4096"),
        (12, {"hash": bytes(16)}, "commit 13 was built on another commit 12"),
        (8, {"covers_after": LSN(4)}, "commit 8 does not reach down to 0"),
    ],
)
def test_commits_that_contradict_each_other_are_corrupt(lsn, changes, message):
    volume = grown()
    known = {LSN(lsn): forged(volume, LSN(lsn), **changes)}
    with pytest.raises(CorruptCommit, match=message):
        read_chain(volume.commits, SERIAL, LOG, LSN(13), known=known)
