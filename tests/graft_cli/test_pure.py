"""Numbers, times, parameters and rows as text."""

import pytest
from click import BadParameter

from graft_cli import human
from graft_cli.parameters import parse_parameters
from graft_cli.rows import Csv, JsonLines, Table, cell


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1 MiB"),
        (1024**6, "1024 PiB"),
    ],
)
def test_sizes(count, text):
    assert human.size(count) == text


def test_counts():
    assert human.counted(1, "page") == "1 page"
    assert human.counted(12000, "page") == "12,000 pages"


def test_times():
    assert human.moment(1_767_323_045_123_456) == "2026-01-02T03:04:05Z"
    assert human.iso(1_767_323_045_000_006) == "2026-01-02T03:04:05.000006Z"


def test_control_characters_reach_no_terminal():
    assert human.one_line("a\nb\x1b[31mc\x9b") == "a\\nb\\x1b[31mc\\x9b"
    assert human.one_line("Zürich ✈") == "Zürich ✈"


def test_parameters():
    texts = ["a=7", "b=1.5", "c=null", 'd="7"', "e=Oslo", "f=", "g=x=y", ":h=true", "i=[1]", "j=NaN"]
    assert parse_parameters(texts) == {
        "a": 7, "b": 1.5, "c": None, "d": "7", "e": "Oslo", "f": "", "g": "x=y", "h": "true", "i": "[1]", "j": "NaN",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["novalue", "=7", "a b=7"])
def test_wrong_parameters(text):
    with pytest.raises(BadParameter, match="expected name=value"):
        parse_parameters([text])


def test_cells():
    assert cell(None) == "NULL"
    assert cell(b"\x00\xff") == "x'00ff'"
    assert cell(b"a" * 2048) == f"x'{'61' * 16}…' (2 KiB)"


def write(writer, columns, rows):
    writer.begin(columns)
    for row in rows:
        writer.row(row)
    writer.end()


def test_a_table_is_aligned_and_numbers_stand_to_the_right(capsys):
    write(Table(), ["id", "name"], [(1, "Oslo"), (1000, None)])
    assert capsys.readouterr().out == "  id  name\n   1  Oslo\n1000  NULL\n"


def test_a_table_without_rows_is_a_heading(capsys):
    write(Table(), ["id", "name"], [])
    assert capsys.readouterr().out == "id  name\n"


def test_a_long_table_streams(capsys):
    table = Table()
    table.begin(["id"])
    for number in range(200):
        table.row((number,))
    assert len(capsys.readouterr().out.splitlines()) == 201
    table.row(("longer than the sample",))
    assert capsys.readouterr().out == "longer than the sample\n"
    table.end()


def test_csv(capsys):
    write(Csv(), ["a", "b"], [(1, 'say "hi"'), (None, b"\x01")])
    assert capsys.readouterr().out == 'a,b\n1,"say ""hi"""\n,01\n'


def test_json_lines(capsys):
    write(JsonLines(), ["a", "a", "b"], [(1, None, b"\x01"), (float("inf"), "ü", 0.5)])
    assert capsys.readouterr().out == '{"a": 1, "a:2": null, "b": "01"}\n{"a": "inf", "a:2": "ü", "b": 0.5}\n'
