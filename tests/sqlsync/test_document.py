"""Documents: at once for oneself, in the end the same for all."""

import pytest

from sqlsync.errors import DocumentBusy, MutationRejected
from tests.graft.support import fast_directory
from tests.sqlsync.support import Stage, notes


@pytest.fixture
def stage():
    with fast_directory() as directory:
        stage = Stage(directory)
        yield stage
        stage.close()


def test_a_mutation_is_seen_at_once_and_then_by_everybody(stage):
    coordinator = stage.coordinator()
    ann, bob = stage.client("ann", coordinator), stage.client("bob", coordinator)
    receipt = ann.mutate("put", key="a", value="1")
    assert (receipt.state, notes(ann)) == ("local", {"a": "1"})
    ann.sync()
    assert receipt.state == "acknowledged"
    coordinator.step()
    ann.sync()
    bob.sync()
    assert receipt.wait(0).state == "confirmed"
    assert notes(ann) == notes(bob) == {"a": "1"}
    assert ann.pending() == []


def test_clients_without_a_coordinator_rebase_and_push_by_themselves(stage):
    ann, bob = stage.client("ann"), stage.client("bob")
    receipts = [ann.mutate("put", key="a", value="ann"), bob.mutate("append", key="a", value=" and bob")]
    ann.sync()
    bob.sync()
    ann.sync()
    assert [receipt.state for receipt in receipts] == ["confirmed", "confirmed"]
    assert notes(ann) == notes(bob) == {"a": "ann and bob"}


def test_a_directory_is_open_once(stage):
    stage.client("ann")
    with pytest.raises(DocumentBusy, match="ann"):
        stage.client("ann")


def test_what_is_refused_at_once_raises_and_leaves_nothing(stage):
    ann = stage.client("ann", stage.coordinator())
    ann.mutate("take", key="seat", value="ann")
    with pytest.raises(MutationRejected, match="seat is taken"):
        ann.mutate("take", key="seat", value="ann again")
    assert len(ann.pending()) == 1
