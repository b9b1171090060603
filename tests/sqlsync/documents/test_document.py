"""Documents: at once for oneself, in the end the same for all."""

import threading

import apsw
import pytest

from pagestore.runtime import Runtime
from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.document import Document
from sqlsync.errors import CoordinatorUnavailable, DocumentBusy, MutationRejected
from sqlsync.reducers.python_reducer import PythonReducer, migration, mutation
from testbed.patience import PATIENCE_S
from tests.sqlsync.support import notes


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


def confirm(coordinator, *clients):
    """Hand over, apply, and let everybody see it."""
    for client in clients:
        client.sync()
    while coordinator.step():
        pass
    for client in clients:
        client.sync()


def test_offline_for_as_long_as_one_likes_and_over_restarts(stage):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator)
    for number in range(50):
        ann.mutate("append", key="a", value=f"{number},")
        if number % 20 == 0:
            ann.close()
            ann = stage.client("ann", coordinator)
    assert len(ann.pending()) == 50
    stage.client("bob", coordinator).mutate("append", key="a", value="bob,")
    bob = stage.open[-1]
    confirm(coordinator, bob, ann)
    assert notes(ann) == notes(bob) | {"a": "bob," + "".join(f"{number}," for number in range(50))}
    assert ann.pending() == []


def test_what_fails_when_it_runs_again_waits_and_takes_no_other_along(stage):
    coordinator = stage.coordinator()
    ann, bob = stage.client("ann", coordinator), stage.client("bob", coordinator)
    bob.mutate("take", key="seat", value="bob")
    receipts = [
        ann.mutate("put", key="x", value="1"),
        ann.mutate("take", key="seat", value="ann"),
        ann.mutate("put", key="y", value="2"),
    ]
    confirm(coordinator, bob)
    ann.sync()  # bob's is seen, ann's are with the coordinator
    assert notes(ann) == {"seat": "bob", "x": "1", "y": "2"}
    assert [receipt.state for receipt in receipts] == ["acknowledged"] * 3
    assert [receipt.provisional_error for receipt in receipts] == [None, "seat is taken", None]
    confirm(coordinator, ann)
    assert [receipt.state for receipt in receipts] == ["confirmed", "rejected", "confirmed"]
    assert (receipts[1].reason, receipts[1].provisional_error) == ("seat is taken", None)


def lose_a_seat(stage, **options):
    """Return a client whose mutation is going to be rejected, and the coordinator that did."""
    coordinator = stage.coordinator()
    ann, bob = stage.client("ann", coordinator, **options), stage.client("bob", coordinator)
    ann.mutate("take", key="seat", value="ann")
    bob.mutate("take", key="seat", value="bob")
    confirm(coordinator, bob)
    ann.sync()
    while coordinator.step():
        pass
    return ann, coordinator


def test_a_rejected_mutation_is_dropped_unless_somebody_wants_it(stage):
    ann, _ = lose_a_seat(stage)
    ann.sync()
    assert (ann.pending(), ann.refusals(), notes(ann)) == ([], [], {"seat": "bob"})


def test_a_rejected_mutation_is_kept_over_restarts_and_can_be_retried(stage):
    ann, coordinator = lose_a_seat(stage, on_rejected="keep")
    ann.sync()
    ann.close()
    ann = stage.client("ann", coordinator, on_rejected="keep")
    (refusal,) = ann.refusals()
    assert (refusal.reason, refusal.mutation.body.arguments["value"]) == ("seat is taken", "ann")
    with pytest.raises(MutationRejected):
        ann.retry(refusal)
    assert ann.refusals() == [refusal]
    coordinator.mutate("remove", key="seat")
    ann.sync()
    receipt = ann.retry(refusal)
    confirm(coordinator, ann)
    assert (receipt.state, ann.refusals(), notes(ann)) == ("confirmed", [], {"seat": "ann"})


def test_a_callback_is_told_once_and_again_if_it_failed(stage):
    told = []

    def tell(refusal):
        told.append(refusal.reason)
        if len(told) == 1:
            raise RuntimeError("the window was closed")

    ann, coordinator = lose_a_seat(stage, on_rejected=tell)
    with pytest.raises(RuntimeError, match="window"):
        ann.sync()
    ann.close()
    ann = stage.client("ann", coordinator, on_rejected=tell)
    ann.sync()
    assert told == ["seat is taken"] * 2
    assert ann.refusals() == []


class Dice(PythonReducer):
    @migration(1)
    def tables(self, ctx):
        ctx.execute("CREATE TABLE rolls (number INTEGER, sql INTEGER, at TEXT, moment TEXT, who TEXT)")

    @mutation
    def roll(self, ctx):
        ctx.execute(
            "INSERT INTO rolls VALUES (?, random(), CURRENT_TIMESTAMP, ?, ?)",
            (ctx.random.randrange(10**9), ctx.now.isoformat(), ctx.actor),
        )


def test_every_replay_sees_the_same_time_and_chance(stage):
    clock = [1_700_000_000.0]

    def now_s():
        clock[0] += 1000
        return clock[0]

    runtime = Runtime(now_s=now_s)
    coordinator = stage.coordinator(reducer=Dice(), runtime=runtime)
    ann, bob = (
        Document(stage.directory / name, stage.remote, Dice(), link=LocalLink(coordinator), actor=name,
                 store=stage.store, runtime=runtime)
        for name in ("ann", "bob")
    )  # fmt: skip
    stage.open += [ann, bob]
    for client in (ann, bob, ann):
        client.mutate("roll")
    at_once = ann.query("SELECT * FROM rolls")
    confirm(coordinator, bob)
    ann.sync()
    rebased = ann.query("SELECT * FROM rolls WHERE who = 'ann'")
    confirm(coordinator, ann)
    assert at_once == rebased == ann.query("SELECT * FROM rolls WHERE who = 'ann'")
    bob.sync()
    assert ann.query("SELECT * FROM rolls") == bob.query("SELECT * FROM rolls")
    assert len(set(bob.query("SELECT number FROM rolls"))) == 3


def test_a_query_cannot_write_nor_end_what_it_reads(stage):
    ann = stage.client("ann")
    ann.mutate("put", key="a", value="1")
    for sql in ("DELETE FROM notes", "BEGIN", "COMMIT", "ATTACH ':memory:' AS x"):
        with pytest.raises(apsw.Error):
            ann.query(sql)
    assert notes(ann) == {"a": "1"}


def test_a_thread_synchronizes_by_itself_and_reports_what_fails(stage):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator)
    errors, failed = [], threading.Event()

    def note(error):
        errors.append(error)
        failed.set()

    ann.start(poll_s=0.01, on_error=note)
    receipt = ann.mutate("put", key="a", value="1")
    coordinator.start()
    receipt.wait(PATIENCE_S)
    coordinator.close()
    late = ann.mutate("put", key="b", value="2")
    assert failed.wait(PATIENCE_S)
    assert isinstance(errors[0], CoordinatorUnavailable)
    ann.stop()
    assert late.state == "local"
    assert len(ann.pending()) == 1
