import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import FrozenBitMap

from pagestore.errors import CorruptObject
from pagestore.pages import PAGE_IDX_MAX
from pagestore.pageset import PageSet
from tests.pagestore.segments.sample_segment import GOLDEN

PAGE = st.one_of(st.integers(1, 40), st.integers(65500, 65600), st.integers(1, PAGE_IDX_MAX))
PAGES = st.one_of(
    st.frozensets(PAGE, max_size=60),
    st.tuples(PAGE, st.integers(0, 9000)).map(
        lambda run: frozenset(range(run[0], min(run[0] + run[1], PAGE_IDX_MAX) + 1))
    ),
)
GOLDEN_SETS = {
    "pageset_empty": PageSet(),
    "pageset_few": PageSet.of([1, 2, 5, 70000, PAGE_IDX_MAX]),
    "pageset_runs": PageSet.range(1, 200000) - PageSet.of([17, 65536]),
}


@given(PAGES)
def test_it_is_the_set_of_its_pages(pages):
    found = PageSet.of(pages)
    assert list(found) == sorted(pages)
    assert len(found) == len(pages)
    assert bool(found) == bool(pages)
    assert all(page in found for page in pages)
    assert found.to_array().tolist() == sorted(pages)
    assert found.to_array().dtype == np.uint32
    if pages:
        assert (found.first, found.last) == (min(pages), max(pages))


@given(PAGES, PAGES)
def test_algebra_is_that_of_sets(left, right):
    a, b = PageSet.of(left), PageSet.of(right)
    assert set(a | b) == left | right
    assert set(a & b) == left & right
    assert set(a - b) == left - right
    assert (a == b) == (left == right)
    assert a.first == min(left) if left else not a


@given(PAGES, PAGES)
def test_equal_sets_have_equal_bytes_and_hashes_however_they_were_made(left, right):
    one = PageSet.of(left | right)
    for other in (PageSet.of(left) | PageSet.of(right), one - PageSet(), PageSet.decode(one.encode())):
        assert other == one
        assert hash(other) == hash(one)
        assert other.encode() == one.encode()


def test_a_range_and_its_pages_have_equal_bytes():
    for last in range(1, 50):
        assert PageSet.range(1, last).encode() == PageSet.of(list(range(1, last + 1))).encode()


@given(PAGE, st.integers(0, 300))
def test_a_range_includes_both_ends(first, more):
    last = min(first + more, PAGE_IDX_MAX)
    assert list(PageSet.range(first, last)) == list(range(first, last + 1))


def test_a_range_that_ends_before_it_begins_is_empty():
    assert PageSet.range(7, 6) == PageSet() == PageSet.of([])


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.uint64, np.uint8])
def test_arrays_of_any_integer_type(dtype):
    assert list(PageSet.of(np.array([9, 3, 3, 200], dtype))) == [3, 9, 200]
    assert np.uint32(200) in PageSet.of(np.array([200], dtype))


@pytest.mark.parametrize(
    "pages",
    [
        [0],
        [-1],
        [PAGE_IDX_MAX + 1],
        [2**40],
        [1.5],
        ["1"],
        np.array([0, 1]),
        np.array([-1]),
        np.array([2**32 + 1]),
        np.array([1.0]),
        np.array([[1]]),
        np.array([True]),
    ],
)
def test_what_is_no_page_index_is_refused(pages):
    with pytest.raises(ValueError):
        PageSet.of(pages)


@pytest.mark.parametrize("ends", [(0, 3), (1, PAGE_IDX_MAX + 1)])
def test_ranges_beyond_the_bounds_are_refused(ends):
    with pytest.raises(ValueError, match="page indexes"):
        PageSet.range(*ends)


@pytest.mark.parametrize("page", [0, -1, PAGE_IDX_MAX + 1, 2**70])
def test_what_is_no_page_index_is_in_no_set(page):
    assert page not in PageSet.range(1, 10)


def test_the_empty_set_has_no_ends():
    for end in ("first", "last"):
        with pytest.raises(ValueError):
            getattr(PageSet(), end)


def test_it_equals_only_page_sets():
    assert PageSet.of([1]) != {1}
    assert len({PageSet.of([1, 2]), PageSet.range(1, 2)}) == 1


@pytest.mark.parametrize(
    ("pages", "text"),
    [
        (PageSet(), "PageSet{}"),
        (PageSet.of([7]), "PageSet{7 (1 pages)}"),
        (PageSet.range(1, 16) | PageSet.of([20]), "PageSet{1-16,20 (17 pages)}"),
        (PageSet.of([PAGE_IDX_MAX]), f"PageSet{{{PAGE_IDX_MAX} (1 pages)}}"),
        (PageSet.of(range(2, 100, 3)), "PageSet{2,5,8,11,14,17,… (33 pages)}"),
        (PageSet.range(1, 10_000_000), "PageSet{1-10000000 (10000000 pages)}"),
    ],
)
def test_its_repr_is_short(pages, text):
    assert repr(pages) == text


@pytest.mark.parametrize("name", GOLDEN_SETS)
def test_golden_bytes(name):
    golden = (GOLDEN / f"{name}.golden").read_bytes()
    assert GOLDEN_SETS[name].encode() == golden
    assert PageSet.decode(memoryview(golden)) == GOLDEN_SETS[name]


@pytest.mark.parametrize("pages", GOLDEN_SETS.values())
def test_truncated_or_longer_bytes_are_corrupt(pages):
    data = pages.encode()
    for wrong in [*(data[:length] for length in range(min(len(data), 2000))), data + b"\0"]:
        with pytest.raises(CorruptObject):
            PageSet.decode(wrong)


@pytest.mark.parametrize("page", [0, 2**32 - 1])
def test_a_bitmap_of_what_is_no_page_is_corrupt(page):
    with pytest.raises(CorruptObject, match="outside"):
        PageSet.decode(FrozenBitMap([page]).serialize())


@given(st.sampled_from(["pageset_few", "pageset_runs"]), st.data())
def test_damaged_bytes_raise_nothing_but_corrupt(name, data):
    raw = bytearray(GOLDEN_SETS[name].encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = PageSet.decode(raw)
    except CorruptObject:
        return
    assert all(1 <= page <= PAGE_IDX_MAX for page in found)
    assert found.to_array().size == len(found)
