"""Runs of local commits against plain tuples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graft.journal.commit_run import CommitRun


@given(st.lists(st.tuples(st.integers(0, 100), st.lists(st.integers(), max_size=3)), max_size=40))
def test_like_tuples_however_they_branch(steps):
    """Each step lengthens any of the runs made so far; none of the others may change."""
    runs, models = [CommitRun.empty()], [()]
    for choice, more in steps:
        of = choice % len(runs)
        runs.append(runs[of].followed_by(more))
        models.append((*models[of], *more))
    for run, model in zip(runs, models, strict=True):
        assert tuple(run) == model
        assert len(run) == len(model)
        assert bool(run) == bool(model)
        assert tuple(run[1:-1]) == model[1:-1]
        assert [run[index] for index in range(-len(model), len(model))] == [*model, *model]


def test_no_further_than_its_end():
    run = CommitRun.empty().followed_by([1])
    run.followed_by([2])
    with pytest.raises(IndexError):
        run[1]
