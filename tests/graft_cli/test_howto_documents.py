"""The pages on documents, as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page):
    """The Python on a page."""
    found = re.findall(r"^( *)```python\n(.*?)^\1```", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def python(text, directory, **environment):
    """Run Python there; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def todos(tmp_path):
    """A directory with the reducer of the page."""
    (tmp_path / "todos.py").write_text(blocks("documents.md")[0])
    return tmp_path


def test_a_document_in_one_process(todos):
    _, use = blocks("documents.md")
    text = "from todos import Todos\n" + use.replace("s3://bucket/prefix#todos", f"{todos}/remote#todos")
    assert "milk" in python(text, todos)


def test_a_document_that_is_served(todos):
    _, use = blocks("serve-documents.md")
    command = [sys.executable, "-m", "graft_cli", "serve", todos / "remote", "--port", "0", "--reducer", "todos:Todos"]
    environment = {"GRAFT_DOCUMENT_TOKEN": "secret"}
    with subprocess.Popen(
        [*command, "--directory", todos / "server"], cwd=todos, env=os.environ | environment, stdout=-1, text=True
    ) as server:
        try:
            url = server.stdout.readline().split()[-1]
            text = use.replace("https://documents.example", url).replace("s3://bucket/documents", f"{todos}/remote")
            assert "milk" in python(text, todos, **environment)
        finally:
            server.terminate()


def test_a_document_with_a_module_has_all_its_imports():
    module, _ = blocks("serve-documents.md")
    imports = "\n".join(line for line in module.splitlines() if line.startswith(("import", "from")))
    names = {name for line in re.findall(r"import (.*)", imports) for name in line.split(", ")}
    assert names == {"os", "Path", "Document", "HttpLink", "WasmReducer"}
    python(imports, HOW_TO)
