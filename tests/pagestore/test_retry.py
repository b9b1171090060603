import dataclasses

import pytest

from pagestore.retry import RetryPolicy, random_fraction
from pagestore.runtime import SYSTEM

POLICY = RetryPolicy(attempts_max=5, backoff_base_s=0.1, backoff_max_s=0.5, call_s_max=60)


@pytest.mark.parametrize(("attempts", "ceiling_s"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5)])
def test_the_wait_is_anything_up_to_a_ceiling_that_doubles(attempts, ceiling_s):
    assert POLICY.wait_s(attempts, 0, 0.0) == 0
    assert POLICY.wait_s(attempts, 0, 0.5) == pytest.approx(ceiling_s / 2)
    assert POLICY.wait_s(attempts, 0, 1 - 2**-48) == pytest.approx(ceiling_s)


def test_it_gives_up_after_the_last_attempt():
    assert POLICY.wait_s(5, 0, 0.5) is None


def test_no_try_begins_after_the_calls_time():
    assert POLICY.wait_s(1, 59.95, 0.4) is not None
    assert POLICY.wait_s(1, 59.95, 0.6) is None


def test_very_many_attempts_do_not_overflow():
    assert dataclasses.replace(POLICY, attempts_max=10_000).wait_s(9_999, 0, 0.5) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("byte", "low", "high"), [(b"\0", 0, 0), (b"\x80", 0.5, 0.51), (b"\xff", 0.99, 0.9999999999999999)]
)
def test_random_fractions_stay_below_one(byte, low, high):
    runtime = dataclasses.replace(SYSTEM, entropy=lambda count: byte * count)
    assert low <= random_fraction(runtime) <= high
