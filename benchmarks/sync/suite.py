"""The scenarios of ``python -m benchmarks sqlsync``: documents, their coordinator and their reducers."""

from benchmarks.scenario import Scenario
from benchmarks.sync.coordinating import Coordinating
from benchmarks.sync.mutating import Confirming, Mutating
from benchmarks.sync.reading import Reading1Percent
from benchmarks.sync.rebasing import Rebasing
from benchmarks.sync.scenario import Place

_ALL: tuple[Scenario[Place], ...] = (Coordinating(), Mutating(), Confirming(), Rebasing(), Reading1Percent())

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
"""By name, in the order in which they run."""
