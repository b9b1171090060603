"""Collectors, writers and forks at once: a stale append never lands, two collectors are as good as one."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from graft.errors import BaseCollected, Diverged, HistoryLost, RemoteUnavailable, VersionCollected
from graft.failpoints import REMOTE_FAILPOINTS
from graft.operations.compact import compact
from graft.operations.verify import verify
from graft.retention.pinning import pin
from graft.retention.policy import DAY_S
from graft.sync.clone import clone
from graft.sync.fork import fork
from graft.sync.poll import poll
from graft.sync.pull import pull
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from metastore.collected import read_remaining
from metastore.tombstone import TOMBSTONE_BYTES
from pagestore.runtime import SYSTEM, Runtime
from pagestore.testing import FaultyStore, lost_after, lost_before, preceded_by
from tests.graft.retention.support import Clock, collected, keys, reader, reads, tag_version, write
from tests.graft.support import (
    Killed,
    as_other_process,
    commit,
    content,
    dying_at,
    failpoint_hook,
    leave,
    new_replica,
    small_settings,
)

GC_POINTS = [point for point in REMOTE_FAILPOINTS if point.startswith("gc:")]


def cloned(tmp_path, store, name, runtime=SYSTEM):
    settings = small_settings(cache_bytes_max=2**20, inline_bytes_max=512)
    return clone(tmp_path / name, f"{store.url}#vol", store=store, settings=settings, runtime=runtime)


@pytest.fixture
def history(tmp_path, store, clock):
    """A volume with twelve versions: their content."""
    with closing(new_replica(tmp_path / "vol", store, inline_bytes_max=512)) as replica:
        return {lsn: write(replica, clock, lsn, changed=6 if lsn % 3 else 40) for lsn in range(1, 13)}


@pytest.mark.parametrize("days", [0, 1, 3], ids=["at once", "tombstones", "tombstones gone"])
@pytest.mark.parametrize("skew_s", [-5 * DAY_S, 0, 5 * DAY_S], ids=["behind", "right", "ahead"])
@pytest.mark.parametrize("compacts", [False, True])
def test_a_stale_append_never_lands(tmp_path, store, clock, history, days, skew_s, compacts):
    """One writer is paused right before its append; others push, compact and collect, in hours or days."""
    paused_clock = Clock()
    now = Runtime(now_s=lambda: clock.now_s + skew_s, monotonic_s=lambda: clock.now_s - 1_000_000)
    faulty = FaultyStore(store)
    with closing(cloned(tmp_path, faulty, "paused", now)) as paused, closing(cloned(tmp_path, store, "busy")) as busy:
        commit(paused, [1, 2], "stale")

        def others():
            pull(busy)
            for step in range(20):
                write(busy, clock, step)
            if compacts:
                compact(busy)
            collected(store, keep_last=1)
            for _ in range(days):
                clock.now_s += 1.5 * DAY_S
                collected(store, keep_last=1)

        faulty.fail_next("put_if_absent", preceded_by(others), key_part="/commits/")
        with pytest.raises(Diverged):
            push(paused)
        assert paused_clock.now_s
        assert paused.view().pending, "the local commits are kept"
        assert paused.state.read().intent is None
        wanted = content(busy.snapshot())
        collected(store, keep_last=1)
        assert not [key for key in keys(store) if "ffffffffffffff3" in key and keys(store)[key] > 200]
        pull(paused, policy="discard")
        assert content(paused.snapshot()) == wanted
        write(paused, clock, "again")
    with reader(tmp_path, store) as cold:
        assert verify(cold).problems == ()


def test_a_tombstone_refuses_an_append_that_took_no_time(tmp_path, store, clock, history):
    """By the clocks of the writer nothing happened between its last look and its append: only the tombstone tells."""
    faulty = FaultyStore(store)
    landed = []
    with closing(cloned(tmp_path, faulty, "paused")) as paused, closing(cloned(tmp_path, store, "busy")) as busy:
        commit(paused, [1, 2], "stale")

        def others():
            for step in range(3):
                write(busy, clock, step, changed=40)
            collected(store, keep_last=1)
            thirteenth = next(size for key, size in keys(store).items() if key.endswith(f"{2**64 - 1 - 13:016x}"))
            assert thirteenth == TOMBSTONE_BYTES

        def tried(put, key, data):
            others()
            landed.append(put(key, data))
            return landed[-1]

        faulty.fail_next("put_if_absent", tried, key_part="/commits/")
        with pytest.raises(Diverged):
            push(paused)
        assert landed == [False]
        assert pull(paused, policy="discard").after == 15


@pytest.mark.parametrize("kind", ["tag", "pin", "fork"])
def test_what_begins_to_need_a_version_right_before_the_announcement_keeps_it(tmp_path, store, clock, history, kind):
    """The collector has listed tags, pins and names already; it looks again once it has said what goes."""
    faulty = FaultyStore(store)
    with closing(cloned(tmp_path, store, "other")) as other:

        def begin():
            if kind == "pin":
                pin(other, at=5)
            elif kind == "fork":
                fork(other, "child", at=5)
            else:
                tag_version(store, other, "five", 5)

        faulty.fail_next("put", preceded_by(begin), key_part="/collected/")
        collected(faulty, keep_last=1)
    assert reads(tmp_path, store, [5, 12]) == {lsn: history[lsn] for lsn in (5, 12)}
    if kind == "fork":
        with reader(tmp_path, store, "child") as child:
            assert content(child.snapshot()) == history[5]


def test_a_push_that_waited_long_asks_for_its_parent_again(tmp_path, store, clock, history):
    """What others did between the first request of a push and its append shows before anything is appended."""
    now = Runtime(now_s=clock, monotonic_s=lambda: clock.now_s)
    with closing(cloned(tmp_path, store, "slow", now)) as slow, closing(cloned(tmp_path, store, "busy")) as busy:
        commit(slow, range(1, 30), "large")

        begun = []

        def others(point):
            if point == "push: after segment" and not begun:
                begun.append(point)
                write(busy, clock, "one")
                write(busy, clock, "two")
                collected(store, keep_last=1)
                for _ in range(3):
                    clock.now_s += 1.5 * DAY_S
                    collected(store, keep_last=1)

        with failpoint_hook(others), pytest.raises((BaseCollected, RemoteUnavailable)):
            push(slow)
        assert slow.view().pending
        assert content(busy.snapshot()) == reads(tmp_path, store, [14])[14]


@pytest.mark.parametrize("point", GC_POINTS)
def test_two_collectors_at_once_leave_what_both_leave(tmp_path, store, clock, history, point):
    inner = iter([lambda: collected(store, keep_last=2)])

    def other(name):
        if name == point:
            next(inner, lambda: None)()

    with failpoint_hook(other):
        collected(store, keep_last=5)
    assert read_remaining(store, log_of(store)).floor == 11
    assert reads(tmp_path, store, [11, 12]) == {lsn: history[lsn] for lsn in (11, 12)}
    collected(store, keep_last=5)
    assert reads(tmp_path, store, [11, 12]) == {lsn: history[lsn] for lsn in (11, 12)}


@pytest.mark.parametrize("point", GC_POINTS)
def test_a_collector_that_dies_is_continued(tmp_path, store, clock, history, point):
    with dying_at(point), pytest.raises(Killed):
        collected(store, keep_last=4)
    window = range(9, 13)
    assert reads(tmp_path, store, window) == {lsn: history[lsn] for lsn in window}
    for lsn in range(1, 9):
        with pytest.raises(VersionCollected, match="LSN 9"):
            reads(tmp_path, store, [lsn])
    collected(store, keep_last=4)
    assert reads(tmp_path, store, window) == {lsn: history[lsn] for lsn in window}
    left = [key for key, size in keys(store).items() if "/commits/" in key and size > 100]
    assert len(left) <= 4 + 3, "the window, and what leads to it"


def log_of(store):
    from graft.retention.listing import find_logs

    (log,) = find_logs(store)
    return log


def test_old_tombstones_go_but_those_beside_commits(tmp_path, store, clock, history):
    with reader(tmp_path, store) as replica:
        tag_version(store, replica, "five", 5)
    collected(store, keep_last=1)
    clock.now_s += 2 * DAY_S
    collected(store, keep_last=1)
    clock.now_s += 2 * DAY_S
    collected(store, keep_last=1)
    lsns = sorted(2**64 - 1 - int(key.rpartition("/")[2], 16) for key in keys(store) if "/commits/" in key)
    commits = {lsn for lsn in lsns if keys(store)[f"logs/{log_of(store)}/commits/{2**64 - 1 - lsn:016x}"] > 100}
    assert {5, 12} <= commits
    assert len(lsns) < 12
    assert set(lsns) == commits | {1} | {lsn + 1 for lsn in commits if lsn < 12}


def test_a_replica_behind_the_window_moves_on(tmp_path, store, clock, history):
    for days in (0, 1, 3):
        with (
            closing(cloned(tmp_path, store, f"behind{days}")) as behind,
            closing(cloned(tmp_path, store, f"busy{days}")) as busy,
        ):
            for step in range(5):
                wanted = write(busy, clock, f"{days}/{step}")
            collected(store, keep_last=1)
            for _ in range(days):
                clock.now_s += 1.5 * DAY_S
                collected(store, keep_last=1)
            assert pull(behind).after == busy.view().state.lsn
            assert content(behind.snapshot()) == wanted


def test_a_follower_behind_the_window_moves_on(tmp_path, store, clock, history):
    now = Runtime(now_s=clock, monotonic_s=lambda: clock.now_s)
    with closing(cloned(tmp_path, store, "behind", now)) as behind, closing(cloned(tmp_path, store, "busy")) as busy:
        for step in range(3):
            write(busy, clock, step)
        collected(store, keep_last=1)
        assert poll(behind).after == 15
        for step in range(3):
            wanted = write(busy, clock, step)
        for _ in range(4):
            collected(store, keep_last=1)
            clock.now_s += 1.5 * DAY_S
        assert poll(behind).after == 18, "also where the place of the next commit is empty"
        assert content(behind.snapshot()) == wanted


@pytest.mark.parametrize("days", [0, 3])
def test_local_commits_on_a_collected_version_diverge_and_can_be_saved(tmp_path, store, clock, history, days):
    now = Runtime(now_s=clock, monotonic_s=lambda: clock.now_s)
    with closing(cloned(tmp_path, store, "behind", now)) as behind:
        mine = content(commit(behind, [3, 4, 5], "mine"))
        content(behind.snapshot())  # a page that was not read could not be saved
        with closing(cloned(tmp_path, store, "busy")) as busy:
            for step in range(8):
                newest = write(busy, clock, step, changed=40)
            collected(store, keep_last=1)
            for _ in range(days):
                clock.now_s += 1.5 * DAY_S
                collected(store, keep_last=1)
        clock.now_s += 120
        with pytest.raises(BaseCollected, match=r"LSN 12, which was collected; what remains .* LSN 20"):
            push(behind)
        with pytest.raises(Diverged):
            pull(behind)
        done = pull(behind, policy="fork", fork_name="mine")
        assert (done.forked_to, done.after) == ("mine", 20)
        assert content(behind.snapshot()) == newest
    collected(store, keep_last=1)
    with reader(tmp_path, store, "mine") as saved:
        assert content(saved.snapshot()) == mine


def test_local_commits_on_a_collected_version_can_be_given_up(tmp_path, store, clock, history):
    with closing(cloned(tmp_path, store, "behind")) as behind:
        commit(behind, [3], "mine")
        with closing(cloned(tmp_path, store, "busy")) as busy:
            newest = write(busy, clock, "busy")
            collected(store, keep_last=1)
        assert pull(behind, policy="discard").after == 13
        assert content(behind.snapshot()) == newest


@pytest.mark.parametrize(("fault", "landed"), [(lost_after, True), (lost_before, False)])
def test_a_push_whose_reply_was_lost_is_settled_after_a_collection(tmp_path, store, clock, history, fault, landed):
    faulty = FaultyStore(store)
    path = tmp_path / "away"
    with closing(cloned(tmp_path, faulty, "away")) as away:
        commit(away, [1], "away")
        faulty.fail_next("put_if_absent", fault, key_part="/commits/")
        faulty.fail_next("get_range", lost_before, key_part="/commits/")
        with pytest.raises(RemoteUnavailable):
            push(away)
    with closing(cloned(tmp_path, store, "busy")) as busy:
        for step in range(3):
            write(busy, clock, step)
        collected(store, keep_last=3 if landed else 1)
    again = as_other_process(path, store)
    try:
        if landed:  # LSN 13 is ours and in the window, its parent is not
            push(again)
            assert not again.view().pending
            assert pull(again).after == 16
        else:
            with pytest.raises(Diverged):
                push(again)
            assert again.view().pending
    finally:
        leave(again)


def test_a_fork_of_a_version_that_is_given_up_meanwhile_is_refused_or_whole(tmp_path, store, clock, history):
    """Whoever is first, the collector's announcement or the fork's name: no fork lacks pages."""
    for number, point in enumerate(["before", *GC_POINTS]):
        with closing(cloned(tmp_path, store, f"forking{number}")) as forking:
            for step in range(4):
                write(forking, clock, f"{number}/{step}")
            lsn = forking.view().state.lsn - 2
            wanted = content(snapshot_at(forking, lsn))
            name = f"fork{number}"
            made = []

            def attempt(passed, point=point, name=name, lsn=lsn, forking=forking, made=made):
                if passed == point and not made:
                    made.append(passed)
                    try:
                        fork(forking, name, at=lsn)
                    except (VersionCollected, HistoryLost):
                        made.append("refused")

            if point == "before":
                attempt("before")
            with failpoint_hook(attempt):
                collected(store, keep_last=1)
            if made and "refused" not in made:
                with reader(tmp_path, store, name) as child:
                    assert content(child.snapshot()) == wanted
            assert made == {"before": ["before"], "gc: between segments": []}.get(point, [point, "refused"])


def test_collections_and_writers_take_turns_for_long(tmp_path, store, clock):
    """Three replicas push, pull, compact and collect in every order of a while; nothing is lost."""
    with closing(new_replica(tmp_path / "vol", store)) as first:
        write(first, clock, "first")
        others = [cloned(tmp_path, store, f"r{number}") for number in range(2)]
        replicas = [first, *others]
        for step, (index, action) in enumerate(
            itertools.product(range(3), ["push", "gc", "compact", "gc", "wait"] * 3)
        ):
            replica = replicas[(index + step) % 3]
            pull(replica)
            if action == "push":
                wanted = write(replica, clock, step)
            elif action == "compact":
                compact(replica)
            elif action == "gc":
                collected(store, keep_last=1 + step % 4)
            else:
                clock.now_s += 1.3 * DAY_S
            pull(replica)
            assert content(replica.snapshot()) == wanted
        for other in others:
            other.close()


def test_collectors_in_threads_beside_a_writer(tmp_path, store, clock, history):
    """Three collectors with three rules run again and again while one writer pushes: what all keep is whole."""
    done = threading.Event()

    def collecting(keep_last):
        rounds = 0
        while not done.is_set() or rounds < 3:
            collected(store, keep_last=keep_last)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as threads, closing(cloned(tmp_path, store, "busy")) as busy:
        collectors = [threads.submit(collecting, keep_last) for keep_last in (2, 3, 9)]
        try:
            for step in range(25):
                history[13 + step] = write(busy, clock, f"busy{step}")
        finally:
            done.set()
        assert all(collector.result() >= 3 for collector in collectors)
    floor = read_remaining(store, log_of(store)).floor
    assert floor > 12
    assert reads(tmp_path, store, range(floor, 38)) == {lsn: history[lsn] for lsn in range(floor, 38)}
    with reader(tmp_path, store) as cold:
        assert verify(cold).problems == ()
