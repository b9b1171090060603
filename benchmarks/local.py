"""The scenarios of ``python -m benchmarks local``: this project against plain SQLite on one machine."""

from benchmarks.scenarios.autocommit import Autocommit
from benchmarks.scenarios.bulk import Bulk, Memory
from benchmarks.scenarios.convoy import Convoy
from benchmarks.scenarios.disk import Disk
from benchmarks.scenarios.opening import Open
from benchmarks.scenarios.readers import Readers
from benchmarks.scenarios.reading import Deep, Lookup, Scan
from benchmarks.scenarios.scenario import Scenario

_ALL: tuple[Scenario, ...] = (
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
