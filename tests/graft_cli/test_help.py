"""What the command says about itself: complete, taught by example, and there at once."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from graft_cli.exitcodes import ExitCode
from graft_cli.main import SECTIONS, cli

COMMANDS = [command for section in SECTIONS for command in section.commands]
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def each_command():
    return pytest.mark.parametrize("lazy", COMMANDS, ids=lambda lazy: lazy.name)


@each_command()
def test_the_table_names_a_command_of_that_name(lazy):
    assert lazy.load().name == lazy.name


@each_command()
def test_help_says_what_it_does_and_ends_with_an_example(graft, lazy):
    page = graft(lazy.name, "--help").out
    assert page.startswith(f"Usage: graft {lazy.name}")
    assert lazy.load().help
    _, _, examples = page.partition("\nExample")
    assert f"graft {lazy.name} " in examples.replace("\n", " \n")


@each_command()
def test_every_option_has_a_help_text(lazy):
    for parameter in lazy.load().params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, parameter.name


@each_command()
def test_the_reference_describes_every_command_and_option(lazy):
    _, _, rest = REFERENCE.read_text().partition(f"## graft {lazy.name}\n")
    section = rest.partition("\n## ")[0]
    assert section, f"no section for {lazy.name}"
    for parameter in lazy.load().params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert any(f"`{name}" in section for name in parameter.opts), f"{lazy.name} {parameter.opts}"


def test_the_reference_lists_every_exit_code():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", REFERENCE.read_text(), re.MULTILINE)}
    assert listed == {int(code) for code in ExitCode}


def test_help_lists_every_command_under_a_heading(graft):
    page = graft("--help").out
    assert graft("-h").out == page
    for section in SECTIONS:
        assert f"\n{section.title}:\n" in page
        for command in section.commands:
            assert re.search(rf"^  {command.name} +{re.escape(command.short_help)}$", page, re.MULTILINE)


def test_help_imports_nothing_heavy():
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "graft_cli", "--help"], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ran.stderr.splitlines()}
    assert "graft_cli" in imported
    assert not imported & {"boto3", "botocore", "apsw", "numpy", "pydantic", "rich", "graft", "pagestore"}


def test_completing_a_command_imports_none(monkeypatch):
    monkeypatch.setattr(cli, "get_command", None)
    found = cli.shell_complete(click.Context(cli), "ver")
    assert [item.value for item in found] == ["verify", "version"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["statis"], "no such command: 'statis'; did you mean status?"),
        (["zzz"], "no such command: 'zzz'"),
        (["--nope"], "no such option"),
        (["push", "--nope"], "no such option"),
        (["clone"], "missing argument 'REMOTE'"),
        (["fork"], "missing argument 'NAME'"),
        (["fork", "a", "b", "c"], "expected [DIR] NAME"),
        (["pull", "--policy", "mingle"], "invalid value for '--policy'"),
        (["pull", "--policy", "fork"], "--policy fork and --fork-name go together"),
        (["pull", "--fork-name", "x"], "--policy fork and --fork-name go together"),
        (["clone", "./remote"], "name the volume, as in ./remote#name"),
        (["volumes", "remote#towns"], "expected a remote without a volume's name"),
        (["import", "absent.db", "here"], "'absent.db' does not exist"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(graft, args, message):
    ran = graft(*args, code=ExitCode.USAGE)
    assert ran.err.startswith("graft: ")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert "--help`)" in ran.err
    assert ran.out == ""


def test_no_command_is_wrong_usage_and_shows_help(graft):
    ran = graft(code=ExitCode.USAGE)
    assert ran.err == graft("--help").out
    assert ran.out == ""


def test_version(graft):
    assert graft("version").out == graft("--version").out == "graft 0.1.0\n"
