"""Documents in asyncio: receipts are awaited, callbacks run in the event loop, and nothing blocks it."""

import asyncio
import threading

import pytest

from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.async_document import AsyncDocument
from sqlsync.errors import MutationRejected
from testbed.patience import PATIENCE_S
from tests.sqlsync.support import Notes


def opened(stage, name, coordinator, **options):
    link = LocalLink(coordinator)
    return AsyncDocument.open(stage.directory / name, stage.remote, Notes(), link=link, store=stage.store, **options)


def test_receipts_are_awaited_and_rejections_come_to_the_loop(stage):
    async def live():
        loop_thread, told = threading.get_ident(), []

        async def refused(refusal):
            await asyncio.sleep(0)
            told.append((refusal.reason, threading.get_ident() == loop_thread))

        coordinator = stage.coordinator()
        coordinator.start()
        async with (
            await opened(stage, "ann", coordinator) as ann,
            await opened(stage, "bob", coordinator, on_rejected=refused) as bob,
        ):
            taken = [await client.mutate("take", key="seat", value=name) for client, name in ((ann, "a"), (bob, "b"))]
            assert len(await bob.pending()) == 1
            ann.start(poll_s=0.01)
            assert (await asyncio.wait_for(taken[0], PATIENCE_S)).state == "confirmed"
            bob.start(poll_s=0.01)
            with pytest.raises(MutationRejected, match="seat is taken"):
                await asyncio.wait_for(taken[1], PATIENCE_S)
            await bob.stop()
            assert told == [("seat is taken", True)]
            assert await bob.query("SELECT value FROM notes WHERE key = ?", ("seat",)) == [("a",)]
            assert await taken[0] is taken[0]

    asyncio.run(live())


def test_waiting_can_be_given_up(stage):
    async def live():
        async with await opened(stage, "ann", stage.coordinator(), on_rejected="keep") as ann:
            receipt = await ann.mutate("put", key="a", value="1")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receipt, 0.001)
            assert receipt._listeners == []
            assert await ann.refusals() == []

    asyncio.run(live())


def test_a_refusal_is_kept_retried_and_forgotten(stage):
    async def live():
        coordinator = stage.coordinator()
        coordinator.mutate("put", key="seat", value="somebody")
        async with await opened(stage, "ann", coordinator, on_rejected="keep") as ann:
            await ann.mutate("remove", key="seat")
            coordinator.mutate("remove", key="seat")
            for _ in range(2):
                await ann.sync()
                coordinator.step()
            await ann.sync()
            (refusal,) = await ann.refusals()
            assert refusal.reason == "there is no seat"
            coordinator.mutate("put", key="seat", value="again")
            await ann.sync()
            await ann.retry(refusal)
            assert await ann.refusals() == []
            assert await ann.query("SELECT * FROM notes") == []
            old = ann.timeline
            assert await ann.renew_timeline() != old
            await ann.forget(refusal)

    asyncio.run(live())
