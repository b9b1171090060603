"""Differences between results: put onto the old rows they give the new ones."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sqlsync.queries.row_diff import RowChange, difference, is_same

values = st.one_of(
    st.none(), st.integers(0, 3), st.sampled_from([1.0, 0.5]), st.sampled_from(["", "1", "a"]), st.just(b"a")
)
rows = st.lists(st.tuples(st.integers(0, 5), values), max_size=8)


def test_rows_are_told_apart_by_their_key():
    change = difference(("id", "x"), [(1, "a"), (2, "b"), (3, "c")], [(3, "c"), (2, "B"), (4, "d")], [0])
    assert change.added == ((4, "d"),)
    assert change.removed == ((1, "a"),)
    assert change.changed == (RowChange((2, "b"), (2, "B")),)
    assert change.rows == ((3, "c"), (2, "B"), (4, "d"))


def test_without_a_key_or_with_one_that_is_not_unique_whole_rows_count():
    for key in ([], [0], None):
        change = difference(("id", "x"), [(1, "a"), (1, "a"), (1, "b")], [(1, "a"), (1, "c")], key)
        assert (change.added, change.removed, change.changed) == (((1, "c"),), ((1, "a"), (1, "b")), ())


def test_types_count():
    assert not is_same([(1,)], [(1.0,)])
    assert is_same([(1, None)], [(1, None)])
    assert difference(("id", "x"), [(1, 1)], [(1, 1.0)], [0]).changed == (RowChange((1, 1), (1, 1.0)),)
    assert difference(("x",), [(1,)], [(1.0,)], ()).added == ((1.0,),)


def typed(found):
    return Counter(tuple((type(value), value) for value in row) for row in found)


@given(rows, rows, st.sampled_from([(), (0,), (0, 1)]))
def test_a_difference_leads_from_one_result_to_the_other(before, after, key):
    change = difference(("id", "x"), before, after, key)
    left = typed(before) - typed(change.removed) - typed(each.before for each in change.changed)
    assert left + typed(change.added) + typed(each.after for each in change.changed) == typed(after)
    if is_same(before, after):
        assert (change.added, change.removed, change.changed) == ((), (), ())
