import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pagestore.errors import CorruptObject
from pagestore.parallel import Parallel
from testbed.patience import PATIENCE_S


@pytest.fixture
def parallel():
    with Parallel(4) as pool:
        yield pool


def test_results_come_in_order_while_calls_run_at_once(parallel):
    together = threading.Barrier(4, timeout=PATIENCE_S)

    def meet(number):
        together.wait()
        return number

    assert list(parallel.map(meet, range(8))) == list(range(8))


def test_one_item_or_one_thread_needs_no_pool(parallel):
    here = threading.get_ident()
    assert list(parallel.map(lambda _: threading.get_ident(), ["one"])) == [here]
    assert list(parallel.map(lambda _: threading.get_ident(), [])) == []
    assert parallel._pool is None
    with Parallel(1) as alone:
        assert set(alone.map(lambda _: threading.get_ident(), range(5))) == {here}


def test_beside_a_block_that_waits(parallel):
    began, may_end, order = threading.Event(), threading.Event(), []

    def work():
        began.set()
        assert may_end.wait(PATIENCE_S)
        order.append("work")

    with parallel.beside(work):
        assert began.wait(PATIENCE_S), "it runs while the block does"
        order.append("block")
        may_end.set()
    assert order == ["block", "work"]


@pytest.mark.parametrize("threads", [1, 2])
def test_what_fails_beside_a_block_fails_after_it(threads):
    done = []

    def fail():
        raise CorruptObject("beside")

    with Parallel(threads) as parallel, pytest.raises(CorruptObject, match="beside"), parallel.beside(fail):
        done.append("block")
    assert done == ["block"]


def test_a_block_that_fails_waits_for_what_was_begun_beside_it(parallel):
    began, done = threading.Event(), []

    def work():
        began.set()
        done.append("work")
        raise CorruptObject("beside")

    with pytest.raises(KeyError, match="block"), parallel.beside(work):
        assert began.wait(PATIENCE_S)
        raise KeyError("block")
    assert done == ["work"]
    with Parallel(1) as alone, pytest.raises(KeyError), alone.beside(work):
        raise KeyError
    assert done == ["work"], "without threads it comes after the block, if that did not fail"


def test_the_first_error_waits_for_what_runs_and_cancels_the_rest(parallel):
    begun, ended = [], []
    all_run = threading.Barrier(4, timeout=PATIENCE_S)
    failing = threading.Event()

    def work(number):
        begun.append(number)
        all_run.wait()
        if number == 0:
            failing.set()
            raise CorruptObject("item 0")
        failing.wait(PATIENCE_S)
        ended.append(number)

    with pytest.raises(CorruptObject, match="item 0"):
        list(parallel.map(work, range(100)))
    assert sorted(begun) == [0, 1, 2, 3]
    assert sorted(ended) == [1, 2, 3]
    assert list(parallel.map(str, range(3))) == ["0", "1", "2"], "the pool is fit for further use"


def test_results_before_an_error_are_delivered(parallel):
    def work(number):
        if number >= 5:
            raise CorruptObject(f"item {number}")
        return number

    results = parallel.map(work, range(50))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(CorruptObject, match="item 5"):
        next(results)


def test_an_iterator_closed_early_leaves_nothing_running(parallel):
    running = threading.Semaphore(0)
    release = threading.Event()
    ended = []

    def work(number):
        if number:
            running.release()
            release.wait(PATIENCE_S)
        ended.append(number)
        return number

    results = parallel.map(work, range(100))
    assert next(results) == 0
    running.acquire(timeout=PATIENCE_S)
    release.set()
    results.close()
    count = len(ended)
    assert count <= 1 + 4
    assert list(parallel.map(str, range(4))) == ["0", "1", "2", "3"]
    assert len(ended) == count


def test_calls_run_ahead_while_items_are_still_being_made(parallel):
    called = [threading.Event() for _ in range(4)]

    def items():
        for number in range(4):
            if number > 1:
                assert called[number - 2].wait(PATIENCE_S), "it begins before the items after the next one are there"
            yield number

    def work(number):
        called[number].set()
        return str(number)

    assert list(parallel.map_ahead(work, items(), lambda _: 1, 2)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("threads", [1, 4])
def test_no_more_runs_ahead_than_was_said(threads):
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    with Parallel(threads) as parallel:
        for taken, result in enumerate(parallel.map_ahead(str, items(), lambda _: 10, 30)):
            assert result == str(taken)
            assert len(made) <= taken + 3 + 1


def test_what_fails_ahead_is_raised_in_its_turn(parallel):
    def work(number):
        if number == 2:
            raise CorruptObject("item 2")
        return number

    def items():
        yield from range(3)
        raise CorruptObject("no more items")

    results = parallel.map_ahead(work, items(), lambda _: 1, 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(CorruptObject, match="item 2"):
        next(results)
    results = parallel.map_ahead(str, items(), lambda _: 1, 9)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(CorruptObject, match="no more items"):
        next(results)


def test_one_item_runs_ahead_of_nobody(parallel):
    here = threading.get_ident()
    assert list(parallel.map_ahead(lambda _: threading.get_ident(), ["one"], lambda _: 1, 9)) == [here]
    assert list(parallel.map_ahead(str, [], lambda _: 1, 9)) == []
    assert parallel._pool is None


def test_a_closed_pool_refuses_work():
    parallel = Parallel(2)
    assert list(parallel.map(str, range(3))) == ["0", "1", "2"]
    parallel.close()
    parallel.close()
    for items in ([1], [1, 2]):
        with pytest.raises(RuntimeError, match="closed"):
            list(parallel.map(str, items))
        with pytest.raises(RuntimeError, match="closed"):
            list(parallel.map_ahead(str, items, lambda _: 1, 1))


def test_no_threads_are_no_pool():
    with pytest.raises(ValueError, match="at least one"):
        Parallel(0)


def test_callers_do_not_wait_for_what_others_do():
    """All threads are stuck with one caller's items; another caller does its own itself."""
    stuck, release = threading.Semaphore(0), threading.Event()

    def hang(_):
        stuck.release()
        release.wait()

    with Parallel(3) as parallel, ThreadPoolExecutor(1) as callers:
        blocked = callers.submit(lambda: list(parallel.map(hang, range(6))))
        for _ in range(3):
            assert stuck.acquire(timeout=PATIENCE_S)
        assert list(parallel.map(lambda item: item + 1, range(50))) == list(range(1, 51))
        release.set()
        assert blocked.result(PATIENCE_S) == [None] * 6


def test_a_call_that_was_begun_is_waited_for(parallel):
    began, may_end = threading.Event(), threading.Event()

    def work():
        began.set()
        assert may_end.wait(PATIENCE_S)
        return threading.get_ident()

    result = parallel.begin(work)
    assert began.wait(PATIENCE_S), "it runs before anybody waits"
    may_end.set()
    assert result() != threading.get_ident()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_that_was_begun_fails_where_it_is_waited_for(threads):
    def fail():
        raise CorruptObject("begun")

    with Parallel(threads) as parallel:
        result = parallel.begin(fail)
        with pytest.raises(CorruptObject, match="begun"):
            result()


def test_a_call_to_which_no_thread_came_runs_where_it_is_waited_for():
    began, may_end = threading.Event(), threading.Event()

    def busy():
        began.set()
        assert may_end.wait(PATIENCE_S)

    with Parallel(2) as parallel:
        busy_ones = [parallel.begin(busy) for _ in range(2)]
        assert began.wait(PATIENCE_S)
        assert parallel.begin(threading.get_ident)() == threading.get_ident()
        may_end.set()
        for result in busy_ones:
            result()
    assert Parallel(1).begin(threading.get_ident)() == threading.get_ident()
