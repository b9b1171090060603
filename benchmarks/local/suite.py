"""The scenarios of ``python -m benchmarks local``: this project against plain SQLite on one machine."""

from benchmarks.local.autocommit import Autocommit
from benchmarks.local.bulk import Bulk, Memory
from benchmarks.local.convoy import Convoy
from benchmarks.local.disk import Disk
from benchmarks.local.opening import Open
from benchmarks.local.readers import Readers
from benchmarks.local.reading import Deep, Lookup, Scan
from benchmarks.local.scenario import Place
from benchmarks.scenario import Scenario

_ALL: tuple[Scenario[Place], ...] = (
    Autocommit(),
    Bulk(),
    Scan(),
    Lookup(),
    Deep("deep_scan"),
    Deep("deep_lookup"),
    Open(),
    Readers(),
    Convoy(),
    Memory(),
    Disk(),
)

SCENARIOS = {scenario.name: scenario for scenario in _ALL}
"""By name, in the order in which they run."""
