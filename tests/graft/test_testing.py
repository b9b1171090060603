"""The test kit as others import it."""

import subprocess
import sys

import pytest

import graft.testing
import metastore.testing
import pagestore.testing

NO_PYTEST = """
import sys

sys.modules["pytest"] = None  # as where it is not installed
import graft.testing
from graft.testing import FaultyStore, LatencyStore, MemoryCommitLog, MemoryStore, MeteredStore
from pagestore.testing import lost_before

store = MeteredStore(FaultyStore(LatencyStore(MemoryStore("kit"), 0.0)))
store.put("a", b"x")
assert store.get("a") == b"x"
try:
    graft.testing.ObjectStoreContract
except ModuleNotFoundError as error:
    print(error)
"""


def test_stores_need_no_pytest_and_contracts_name_it():
    ran = subprocess.run([sys.executable, "-c", NO_PYTEST], capture_output=True, text=True, timeout=120, check=True)
    assert "pytest" in ran.stdout


@pytest.mark.parametrize("module", [graft.testing, pagestore.testing, metastore.testing])
def test_every_public_name_is_there(module):
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        module.nothing  # noqa: B018


def test_graft_testing_shows_all_of_the_kit():
    assert {*pagestore.testing.__all__, *metastore.testing.__all__} < {*graft.testing.__all__}


def test_graft_does_not_import_the_kit():
    code = "import sys, graft, graft_cli.main, sqlsync; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    kit = {"pytest", "graft.testing", "pagestore.testing", "metastore.testing"}
    assert not kit & set(ran.stdout.split())
