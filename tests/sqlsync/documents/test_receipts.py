"""Receipts: what the caller of a mutation learns, once and for good."""

import threading

import pytest

from sqlsync.documents.receipts import Receipt, Receipts, ReceiptState
from sqlsync.envelope import Mutation, Named
from sqlsync.errors import MutationRejected
from sqlsync.ids import TimelineId
from testbed.patience import PATIENCE_S


def receipt(lsn=0):
    return Receipt(mutation(lsn))


def mutation(lsn):
    return Mutation(TimelineId(bytes(16)), lsn, Named("put", {}), "", 0, 0)


def test_states_go_forward_and_listeners_hear_each():
    found, heard = receipt(), []
    found.on_change(lambda changed: heard.append(changed.state))
    for state in (ReceiptState.ACKNOWLEDGED, ReceiptState.ACKNOWLEDGED, ReceiptState.CONFIRMED, ReceiptState.REJECTED):
        found.moved(state, "late")
    assert heard == [ReceiptState.ACKNOWLEDGED, ReceiptState.CONFIRMED]
    assert found.wait(0) is found


def test_a_listener_that_comes_late_hears_the_end():
    found, heard = receipt(), []
    found.moved(ReceiptState.REJECTED, "taken")
    found.on_change(heard.append)
    assert heard == [found]


def test_waiting_raises_the_reason_of_a_rejection():
    found = receipt()
    found.moved(ReceiptState.REJECTED, "the seat is taken")
    with pytest.raises(MutationRejected, match="the seat is taken"):
        found.wait()


def test_waiting_gives_up_in_time():
    with pytest.raises(TimeoutError, match="is local"):
        receipt().wait(0)


def test_a_thread_that_waits_is_woken():
    found = receipt()
    thread = threading.Thread(target=found.wait)
    thread.start()
    found.moved(ReceiptState.CONFIRMED)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_receipts_before_an_lsn_are_settled_each_its_own_way():
    receipts = Receipts()
    first, second, third = (receipts.issue(mutation(lsn)) for lsn in range(3))
    for tell in receipts.settled(2, {1: "no"}):
        tell()
    assert [found.state for found in (first, second, third)] == ["confirmed", "rejected", "local"]
    assert receipts.issue(mutation(2)) is third
