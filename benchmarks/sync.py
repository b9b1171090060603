"""The scenarios of ``python -m benchmarks sqlsync``: documents, their coordinator and their reducers."""

from benchmarks.sync_scenarios.coordinating import Coordinating
from benchmarks.sync_scenarios.mutating import Confirming, Mutating
from benchmarks.sync_scenarios.reading import Reading1Percent
from benchmarks.sync_scenarios.rebasing import Rebasing
from benchmarks.sync_scenarios.scenario import Scenario

_ALL: tuple[Scenario, ...] = (Coordinating(), Mutating(), Confirming(), Rebasing(), Reading1Percent())

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
"""By name, in the order in which they run."""
