"""What `--json` prints: ids as the text that every other place shows, and nothing of Python's own forms."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

import pytest

from graft_cli.output import as_json_text, document, plain, say
from metastore.ids import LogId, VolumeId
from tests.graft_cli.conftest import make_database

ID = {"volume": "v", "log": "l"}


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    volume: VolumeId


@dataclass(frozen=True)
class Outer:
    inner: Inner
    logs: tuple[LogId, ...]
    where: Path
    data: bytes
    colour: Colour
    ratio: float
    when: datetime


def test_every_type_has_its_form(capsys):
    volume, log = VolumeId(bytes(range(16))), LogId(bytes(16))
    content = Outer(
        Inner(volume), (log,), Path("a/b"), b"\xff", Colour.RED, float("inf"), datetime(2026, 1, 2, tzinfo=UTC)
    )
    document(content, further={"ids": [volume]})
    assert json.loads(capsys.readouterr().out) == {
        "inner": {"volume": str(volume)},
        "logs": [str(log)],
        "where": "a/b",
        "data": "ff",
        "colour": "red",
        "ratio": None,
        "when": "2026-01-02T00:00:00+00:00",
        "further": {"ids": [str(volume)]},
    }


def test_a_value_without_a_form_is_our_mistake():
    with pytest.raises(AssertionError, match="object has no form"):
        plain({"a": object()})


def test_a_file_name_that_is_not_utf_8_does_not_stop_an_answer(capsys):
    name = b"n\xe9".decode("utf-8", "surrogateescape")
    say(name)
    say(as_json_text({"path": name}))
    shown, line = capsys.readouterr().out.splitlines()
    assert shown == "n\\udce9"
    assert json.loads(line) == {"path": name}


def values(content):
    if isinstance(content, dict):
        for name, value in content.items():
            yield name, value
            yield from values(value)
    elif isinstance(content, list):
        for value in content:
            yield from values(value)


def test_every_command_prints_plain_values(graft, replica, workdir):
    make_database(workdir / "more.db", rows=5)
    graft("clone", "remote#towns", "other")
    graft("sql", "other", "DELETE FROM towns WHERE id = 1")
    runs = [
        ["init", "new", "remote"],
        ["import", "more.db", "new2", "remote", "--push"],
        ["clone", "remote#towns", "there"],
        ["status", replica],
        ["fork", replica, "forked"],
        ["pull", "other", "--policy", "fork", "--fork-name", "kept"],
        *([name, replica] for name in ("push", "fetch", "hydrate", "log", "audit", "verify", "compact")),
        ["export", replica, "out.db"],
        ["volumes", "remote"],
        ["doctor", "remote"],
        ["doctor", replica],
    ]
    ids = {}
    for args in runs:
        for line in graft(*args, "--json").lines:
            assert "b'" not in line, args
            assert '"raw"' not in line, args
            for name, value in values(json.loads(line)):
                if name in ID and value is not None:
                    assert re.fullmatch(rf"{ID[name]}-[0-9a-f]{{32}}", value), args
                    ids.setdefault((args[0], name), value)
    assert ids["status", "volume"] == ids["clone", "volume"] != ids["fork", "volume"]
    assert f"log: {ids['status', 'log']}" in " ".join(graft("sql", replica, "PRAGMA graft_info", "--csv").out.split())


def test_what_status_and_fork_print_names_the_volumes(graft, replica):
    forked = graft("fork", replica, "forked", "--json").json
    graft("clone", "remote#forked", "copy")
    found = graft("status", "copy", "--json").json
    assert (found["volume"], found["log"]) == (forked["volume"], forked["log"])
    assert VolumeId.parse(found["volume"])
    assert LogId.parse(found["log"])
