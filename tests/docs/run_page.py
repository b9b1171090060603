"""Run the blocks of one page in the working directory: ``python run_page.py PAGE``. Stops at the first that fails."""

import ast
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.docs.pages import Block, blocks, name

INTERRUPTED = 130


def main(page: Path) -> None:
    sys.path[0] = str(Path.cwd())  # as `python` at a prompt has it
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    for block in blocks(page):
        where = f"{name(page)}:{block.line}"
        sys.stdout.write(f"--- {where}\n")
        sys.stdout.flush()
        match block:
            case Block(language="sh") if block.note == "runs on":
                run_on(block.text)
            case Block(language="sh") if block.is_run:
                subprocess.run(["bash", "-euc", block.text], check=True)
            case Block(language="python"):
                code = compile(block.text if block.is_run else imports_of(block.text), where, "exec")
                exec(code, module.__dict__)


def imports_of(text: str) -> str:
    return "\n".join(
        ast.unparse(node) for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)
    )


def run_on(text: str) -> None:
    """Start commands, press Ctrl-C when the last one has said something, and see that it ends as it should."""
    process = subprocess.Popen(
        ["bash", "-euc", text],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs yet
    )
    line = process.stdout.readline()
    sys.stdout.write(line)
    assert line, f"{text!r} printed nothing and ended with exit code {process.wait()}"
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    assert process.returncode in {0, INTERRUPTED, -signal.SIGINT}, f"{text!r} ended with {process.returncode}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
