"""Lanes and budgets: what one document or client may take of the server."""

import asyncio
import contextlib
import threading

import pytest

from graft_server.budget import Budget, HolderOverBudget, OverBudget
from graft_server.lanes import Lane, Overloaded
from testbed.patience import PATIENCE_S


def run(test):
    """Run a test of a lane with two threads, a queue of two, and calls that block until they are let go."""

    async def outer():
        lane, free = Lane("the lane", threads=2, waiting_max=2), threading.Event()
        try:
            await asyncio.wait_for(test(lane, free), PATIENCE_S)
        finally:
            free.set()
            lane.close()

    asyncio.run(outer())


async def blocked(lane, free, count):
    """Occupy threads; return the tasks that wait for them."""
    started = threading.Semaphore(0)

    def block():
        started.release()
        free.wait(PATIENCE_S)

    tasks = [asyncio.create_task(lane.run(block)) for _ in range(count)]
    for _ in range(count):
        await asyncio.to_thread(started.acquire)
    return tasks


def test_a_call_returns_or_raises_what_it_does():
    async def test(lane, free):
        assert await lane.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await lane.run(divmod, 7, 0)
        with pytest.raises(TimeoutError, match="the call's own"):
            await lane.run(raising, TimeoutError("the call's own"), timeout_s=PATIENCE_S)

    def raising(error):
        raise error

    run(test)


def test_a_queue_that_is_full_takes_no_more_and_goes_on_later():
    async def test(lane, free):
        running = await blocked(lane, free, 2)
        waiting = [asyncio.create_task(lane.run(str, number)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="2 calls wait"):
            await lane.run(str, 2)
        free.set()
        assert await asyncio.gather(*waiting) == ["0", "1"]
        await asyncio.gather(*running)
        assert await lane.run(str, 3) == "3"

    run(test)


def test_a_call_that_takes_too_long_is_not_waited_for():
    async def test(lane, free):
        await blocked(lane, free, 2)
        with pytest.raises(Overloaded, match=r"no answer within 0\.01 s"):
            await lane.run(str, 1, timeout_s=0.01)

    run(test)


def test_a_lane_that_is_full_stops_no_other():
    async def test(lane, free):
        await blocked(lane, free, 2)
        other = Lane("another", threads=1, waiting_max=1)
        assert await other.run(str, 1, timeout_s=PATIENCE_S) == "1"
        other.close()

    run(test)


def test_a_closed_lane_refuses_what_waits():
    async def test(lane, free):
        await blocked(lane, free, 2)
        waiting = asyncio.create_task(lane.run(str, 1))
        await asyncio.sleep(0)
        lane.close()
        with pytest.raises(Overloaded, match="being closed"):
            await waiting
        with pytest.raises(Overloaded, match="being closed"):
            await lane.run(str, 1)

    run(test)


def test_a_budget_is_shared_and_each_holder_has_a_part():
    budget = Budget(100, 40)
    with contextlib.ExitStack() as held:
        for client in ("a", "b", "c"):
            share = held.enter_context(budget.share(client, f"document of {client}"))
            share.add(30)
        with pytest.raises(HolderOverBudget, match="requests of a hold 30 bytes"), budget.share("a") as share:
            share.add(11)
        with budget.share("a") as share:
            share.add(5)
        with pytest.raises(OverBudget, match="requests hold 90 bytes") as caught, budget.share("d") as share:
            share.add(11)
        assert not isinstance(caught.value, HolderOverBudget)
    with budget.share("a") as share:
        share.add(40)
