"""Convergence, whatever goes wrong: a handful of worlds in every run, a thousand in the long one."""

import pytest

from tests.graft.support import fast_directory
from tests.sqlsync.simulation import Simulation

SLICES = 10
SEEDS_PER_SLICE = 100


def live(seed):
    with fast_directory() as directory:
        simulation = Simulation(seed, directory)
        try:
            simulation.run()
            simulation.check()
        finally:
            simulation.close()


@pytest.mark.parametrize("seed", [*range(8), 1294])
def test_all_converge_and_nothing_is_lost_or_done_twice(seed):
    live(seed)


@pytest.mark.long
@pytest.mark.parametrize("part", range(SLICES))
def test_a_thousand_worlds(part):
    for seed in range(1000 + part * SEEDS_PER_SLICE, 1000 + (part + 1) * SEEDS_PER_SLICE):
        try:
            live(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
