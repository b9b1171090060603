import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagestore.pages import PAGE_IDX_MAX, check_page_size, page_count_of

SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]


@pytest.mark.parametrize("page_size", SIZES)
def test_every_page_size_of_sqlite_is_accepted(page_size):
    assert check_page_size(page_size) == page_size


@given(st.integers(-1, 2**20).filter(lambda size: size not in SIZES))
def test_any_other_page_size_is_refused(page_size):
    with pytest.raises(ValueError, match=str(page_size)):
        check_page_size(page_size)


@given(st.integers(0, 2**48), st.sampled_from(SIZES))
def test_pages_hold_the_bytes_and_none_is_spare(byte_size, page_size):
    count = page_count_of(byte_size, page_size)
    assert (count - 1) * page_size < byte_size <= count * page_size


def test_the_highest_page_fits_32_bits_with_one_to_spare():
    assert PAGE_IDX_MAX + 1 < 2**32
