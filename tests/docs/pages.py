"""The code blocks of a page of documentation, as they are printed.

    ```sh, ```python          run, in the order of the page, in one directory and one Python process
    <!-- not run: REASON -->  before a block: it is not run; Python is still compiled and its imports are made
    <!-- runs on -->          before a block: its last command is stopped with Ctrl-C once it has printed a line

Other languages, and indented blocks, are text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
RUN = ("sh", "python")

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)$")
_NOTE = re.compile(r"^ *<!-- (?P<note>not run: .+|runs on) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    line: int
    note: str = ""

    @property
    def is_run(self) -> bool:
        return self.language in RUN and not self.note.startswith("not run")


def pages() -> list[Path]:
    """Return all pages that readers follow."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    lines = page.read_text().splitlines()
    number, note = 0, ""
    while number < len(lines):
        line = lines[number]
        if found := _FENCE.match(line):
            end = next(at for at in range(number + 1, len(lines)) if lines[at].strip() == "```")
            text = dedent("\n".join(lines[number + 1 : end])) + "\n"
            yield Block(found["language"], text, number + 2, note)
            number = end
        if line.strip():
            note = match["note"] if (match := _NOTE.match(line)) else ""
        number += 1


def indented(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of indented blocks, outside of fences and lists."""
    fenced = in_list = False
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        if line.strip().startswith("```"):
            fenced = not fenced
        elif not fenced and line and not line.startswith(" "):
            in_list = bool(re.match(r"(\d+\.|[-*]) ", line))
        elif not fenced and not in_list and line.startswith("    "):
            yield number, line.strip()
