"""`graft sql`: runs statements on a volume and prints their rows."""

import sys
from collections.abc import Callable, Mapping

import apsw
import click

from graft_cli.database import database, left_open, sqlite_errors
from graft_cli.exitcodes import ExitCode
from graft_cli.interrupts import interruptible
from graft_cli.options import at as at_option
from graft_cli.options import command
from graft_cli.parameters import parse_parameters
from graft_cli.rows import Csv, JsonLines, RowWriter, Table, Value

_FORMS: dict[str, Callable[[], RowWriter]] = {"table": Table, "csv": Csv, "json": JsonLines}


@command(
    "sql",
    'graft sql ./airports "SELECT name FROM airports WHERE country = :c" -p c=NO',
    'graft sql ./airports "DELETE FROM airports WHERE id = :id" -p id=7',
    'graft sql s3://bucket/data#airports "SELECT count(*) FROM airports" --at 2026-01-02',
    "graft sql ./airports - --csv < report.sql",
)
@click.argument("where", metavar="DIR|REMOTE")
@click.argument("statements", metavar="SQL")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE", help="A value for :NAME; repeatable.")
@at_option
@click.option("--table", "form", flag_value="table", default="table", help="Print aligned columns (the default).")
@click.option("--csv", "form", flag_value="csv", help="Print CSV with a heading; BLOBs as hexadecimal.")
@click.option("--json", "form", flag_value="json", help="Print one JSON object per row and line; BLOBs as hexadecimal.")
@click.pass_context
def sql(ctx: click.Context, where: str, statements: str, params: tuple[str, ...], at: str | None, form: str) -> None:
    """Run SQL statements on a volume and print their rows.

    On a replica DIR, writes become local commits, one for each statement outside of BEGIN … COMMIT. A REMOTE volume is
    read without creating a replica: only the pages that the statements touch are fetched, and nothing is stored
    locally. Use - as SQL to read it from stdin. A transaction that the SQL leaves open is rolled back, and the exit
    code is 1 if it had changed anything.

    A value for -p may be a JSON number, string or null; anything else is text.
    """
    values = parse_parameters(params)
    text = sys.stdin.read() if statements == "-" else statements
    with interruptible(lambda: "interrupted"), database(where, at) as connection:
        _run(connection, text, values, _FORMS[form]())
        if left_open([connection]):
            ctx.exit(ExitCode.FAILED)


def _run(connection: apsw.Connection, text: str, values: Mapping[str, Value], out: RowWriter) -> None:
    cursor = connection.cursor()

    def begun(*_statement: object) -> bool:
        if columns := cursor.get_description():
            out.begin([column[0] for column in columns])
        return True

    cursor.exec_trace = begun
    try:
        with sqlite_errors():
            for row in cursor.execute(text, values):
                out.row(row)
    finally:
        cursor.close(force=True)  # drops the statements that have not run
        out.end()  # prints the rows before an error
