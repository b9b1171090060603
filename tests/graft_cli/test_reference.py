"""The reference pages that come from docstrings are as the docstrings are."""

import subprocess
import sys
from pathlib import Path

import graft
import graft.testing
import graft_server
import graft_sqlite_vfs
import metastore
import pagestore
import sqlsync
from testbed.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


def test_the_pages_are_up_to_date():
    script = ROOT / "scripts" / "reference"
    ran = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}; run .venv/bin/python scripts/reference"


def test_every_public_name_has_an_entry_with_words():
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    for package in (graft, graft.testing, graft_server, graft_sqlite_vfs, metastore, pagestore, sqlsync):
        assert len(package.__all__) == len(set(package.__all__))
        for name in package.__all__:
            entry = page.partition(f"### {package.__name__}.{name}\n")[2].partition("\n##")[0]
            assert entry.strip(), f"{package.__name__}.{name}"


def test_no_public_name_hides_a_module():
    for package in (graft, graft_server, graft_sqlite_vfs, pagestore, sqlsync):
        folder = Path(package.__file__).parent
        modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
        assert not modules & set(package.__all__), package.__name__
