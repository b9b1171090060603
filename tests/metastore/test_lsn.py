"""LSNs, their keys, and Fenwick ranges; the typed ids; the error tree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import metastore
from metastore import errors
from metastore.ids import LogId, VolumeId
from metastore.lsn import LSN, LSN_MAX, chain, covers_after, descending_text, parse_descending
from pagestore import errors as pagestore_errors

LSNS = st.integers(1, LSN_MAX).map(LSN)


@pytest.mark.parametrize(("lsn", "bound"), [(1, 0), (2, 0), (3, 2), (4, 0), (12, 8), (13, 12), (14, 12), (1023, 1022)])
def test_ranges(lsn, bound):
    assert covers_after(LSN(lsn)) == bound


@pytest.mark.parametrize(
    ("lsn", "after", "expected"),
    [(13, 0, [13, 12, 8]), (13, 3, [13, 12, 8]), (13, 8, [13, 12]), (13, 11, [13, 12]), (13, 13, []), (0, 0, [])],
)
def test_chains(lsn, after, expected):
    assert chain(LSN(lsn), LSN(after)) == expected


@given(LSNS)
def test_a_chain_covers_all_without_overlap_in_log2_steps(lsn):
    found = chain(lsn)
    assert [covers_after(each) for each in found] == [*found[1:], 0]
    assert len(found) == lsn.bit_count()


@given(LSNS, LSNS)
def test_keys_sort_newest_first(left, right):
    assert (descending_text(left) < descending_text(right)) == (left > right)
    assert parse_descending(descending_text(left)) == left


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f" * 15,
        "f" * 17,
        "f" * 16,
        "F" * 15 + "E",
        "0x" + "f" * 14,
        "ffff_fffffffffff",
        " " * 16,
        "0" * 16,
        "g" * 16,
    ],
)
def test_what_is_no_key(text):
    with pytest.raises(ValueError, match="not an LSN key"):
        parse_descending(text)


def test_ids_are_typed():
    raw = bytes(range(16))
    assert str(LogId(raw)) == "l-000102030405060708090a0b0c0d0e0f"
    assert str(VolumeId(raw)) == "v-000102030405060708090a0b0c0d0e0f"
    assert LogId.parse(str(LogId(raw))) == LogId(raw)
    with pytest.raises(ValueError, match="not a LogId"):
        LogId.parse(str(VolumeId(raw)))


def test_the_error_tree_is_the_one_that_is_drawn():
    drawn = {line.lstrip("│ ").split()[1] for line in errors.__doc__.splitlines() if line.startswith(("├", "└", "│"))}
    defined = {
        name for name, each in vars(errors).items() if isinstance(each, type) and each.__module__ == errors.__name__
    }
    assert defined == drawn | {"MetaStoreError"}
    assert all(issubclass(getattr(errors, name), errors.MetaStoreError) for name in drawn)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (pagestore_errors.StoreUnavailable("m"), errors.LogUnavailable),
        (pagestore_errors.StorageFull("m"), errors.LogUnavailable),
        (pagestore_errors.StoreRefused("m"), errors.LogRefused),
        (pagestore_errors.UnsafeStore("m"), errors.LogRefused),
        (pagestore_errors.ObjectNotFound("m", "where"), errors.CommitMissing),
        (pagestore_errors.CorruptObject("m"), errors.CorruptCommit),
        (pagestore_errors.UnsupportedFormat("m"), errors.UnsupportedCommit),
        (pagestore_errors.PageStoreError("m"), errors.MetaStoreError),
    ],
)
def test_the_page_stores_errors_are_translated_at_the_border(raised, expected):
    with pytest.raises(errors.MetaStoreError, match="m") as caught, errors.translated():
        raise raised
    assert type(caught.value) is expected
    assert caught.value.__cause__ is raised


def test_what_the_package_offers_is_there():
    assert all(hasattr(metastore, name) for name in metastore.__all__)
