"""What raises has not happened, or says that it may have."""

import pytest

from graft.errors import DiskFull
from sqlsync.documents.timeline import Timeline
from tests.sqlsync.documents.test_document import confirm, lose_a_seat
from tests.sqlsync.support import failpoint_hook, notes


def full(*_, **__):
    raise DiskFull("no space left on device")


def full_at(point):
    """The disk is full from a named point on."""
    return failpoint_hook(lambda name: full() if name == point else None)


def call(document, **arguments):
    """Call a mutation; return whether it happened, as its caller sees it."""
    try:
        document.mutate("append", key="a", value="x", **arguments)
    except DiskFull:
        return False
    return True


@pytest.mark.parametrize("coordinated", [True, False])
@pytest.mark.parametrize("also", ["append", "take_back", None])
def test_a_mutation_that_raises_for_a_full_disk_is_never_applied(stage, monkeypatch, also, coordinated):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator if coordinated else None)
    with full_at("mutate: after append"), monkeypatch.context() as patch:
        if also is not None:
            patch.setattr(Timeline, also, full)
        happened = call(ann)
        assert len(ann.pending()) == happened
    ann.close()
    ann = stage.client("ann", coordinator if coordinated else None)
    confirm(coordinator, ann)
    assert notes(ann) == ({"a": "x"} if happened else {}) if ann.query("SELECT 1 FROM sqlite_schema") else not happened
    ann.mutate("append", key="a", value="y")
    confirm(coordinator, ann)
    assert notes(ann) == {"a": "xy" if happened else "y"}


def test_a_mutation_that_is_stored_and_cannot_be_shown_says_so_in_its_receipt(stage, monkeypatch):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator)
    with full_at("mutate: after append"), monkeypatch.context() as patch:
        patch.setattr(Timeline, "take_back", full)
        receipt = ann.mutate("put", key="a", value="1")
    assert (receipt.state, receipt.provisional_error) == ("local", "no space left on device")
    confirm(coordinator, ann)
    assert (receipt.state, notes(ann)) == ("confirmed", {"a": "1"})


def test_a_call_back_that_fails_does_not_make_a_mutation_raise_that_happened(stage):
    def tell(_):
        raise RuntimeError("the window was closed")

    ann, _ = lose_a_seat(stage, on_rejected=tell)
    with pytest.raises(RuntimeError, match="window"):
        ann.sync()
    ann._client.to_tell.append(lambda: tell(None))
    receipt = ann.mutate("put", key="a", value="1")
    assert [found.lsn for found in ann.pending()] == [receipt.mutation.lsn]


def test_a_retry_happens_together_with_forgetting_the_rejection(stage, monkeypatch):
    ann, coordinator = lose_a_seat(stage, on_rejected="keep")
    ann.sync()
    coordinator.mutate("remove", key="seat")
    ann.sync()
    (refusal,) = ann.refusals()
    with monkeypatch.context() as patch:
        patch.setattr(Timeline, "forget", full)
        ann.retry(refusal)
    assert (len(ann.pending()), ann.refusals()) == (1, [])


def test_a_retry_that_raises_leaves_the_rejection(stage):
    ann, coordinator = lose_a_seat(stage, on_rejected="keep")
    ann.sync()
    coordinator.mutate("remove", key="seat")
    ann.sync()
    (refusal,) = ann.refusals()
    with full_at("mutate: after append"), pytest.raises(DiskFull):
        ann.retry(refusal)
    assert (ann.pending(), ann.refusals()) == ([], [refusal])


def test_renewing_a_timeline_does_not_raise_once_it_is_renewed(stage):
    coordinator = stage.coordinator()
    ann = stage.client("ann", coordinator)
    ann.mutate("append", key="a", value="x")
    before = ann.timeline
    with full_at("rebase: after confirm"):
        assert ann.renew_timeline() != before
    confirm(coordinator, ann)
    assert notes(ann) == {"a": "x"}


def test_a_coordinators_own_mutation_that_is_still_to_be_applied_says_so(stage):
    coordinator = stage.coordinator()
    with full_at("coordinator: after apply"), pytest.raises(DiskFull, match=r"no space.*do not call it again"):
        coordinator.mutate("append", key="a", value="x")
    while coordinator.step():
        pass
    assert coordinator.query("SELECT value FROM notes") == [("x",)]
