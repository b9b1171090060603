"""`graft sql` and `graft shell`: a volume as an SQLite database."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import click

from graft.errors import GraftError, NotAReplica, WriterBusy
from graft.remote.remote import parse_remote
from graft.replica.replica import is_replica
from graft.sync.clone import clone
from graft_cli.exitcodes import ExitCode
from graft_cli.interrupts import interruptible
from graft_cli.options import at as at_option
from graft_cli.options import command
from graft_cli.parameters import parse_parameters
from graft_cli.rows import Csv, JsonLines, RowWriter, Table, Value
from graft_sqlite_vfs.connect import OPEN_FLAGS, connect

_READ_ONLY = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
_STEPS_BETWEEN_SIGNALS = 100_000
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
def sql(where: str, statements: str, params: tuple[str, ...], at: str | None, form: str) -> None:
    """Run SQL statements on a volume and print their rows.

    On DIR, a replica, writes become local commits, one for each statement outside of BEGIN … COMMIT. On a REMOTE
    address the volume is read as it is, without keeping anything here: only the pages that the statements touch are
    fetched. SQL may be - to read it from stdin.

    A value for -p is a JSON number, string or null; anything else is text.
    """
    values = parse_parameters(params)
    text = sys.stdin.read() if statements == "-" else statements
    with interruptible(lambda: "interrupted"), _database(where, at) as connection:
        _run(connection, text, values, _FORMS[form]())


@command(
    "shell",
    "graft shell ./airports",
    'echo "SELECT count(*) FROM airports;" | graft shell ./airports',
)
@click.argument("where", metavar="DIR|REMOTE", default=".")
@at_option
@click.pass_context
def shell(ctx: click.Context, where: str, at: str | None) -> None:
    """Open an SQLite shell on DIR, a replica (by default the working directory), or to read a REMOTE volume.

    Type .help in it. Statements from a pipe run until the first that fails, which makes the exit code 1.
    """
    from apsw.shell import Shell  # noqa: PLC0415 - as large as the rest of apsw, and `graft sql` does without

    with _database(where, at) as connection:
        prompt = Shell(db=connection, stdin=sys.stdin, stdout=sys.stdout, stderr=sys.stderr)
        prompt.bail = not prompt.interactive
        described = "\n".join(str(row[0]) for row in connection.execute("PRAGMA graft_snapshot"))
        try:
            prompt.cmdloop(intro=f'{described}\nEnter ".help" for instructions\n')  # type: ignore[no-untyped-call]
        except (apsw.Error, Shell.Error):
            ctx.exit(ExitCode.FAILED)  # the shell has said why


def _run(connection: apsw.Connection, text: str, values: Mapping[str, Value], out: RowWriter) -> None:
    cursor = connection.cursor()

    def begun(*_statement: object) -> bool:
        if columns := cursor.get_description():
            out.begin([column[0] for column in columns])
        return True

    cursor.exec_trace = begun
    # Python looks for Ctrl-C only while it runs, which a long statement in C does not let it
    connection.set_progress_handler(lambda: False, _STEPS_BETWEEN_SIGNALS)
    try:
        with _sqlite_errors():
            for row in cursor.execute(text, values):
                out.row(row)
    finally:
        cursor.close(force=True)  # statements that are still to run never do
        out.end()  # a statement that fails at its 100th row has had 99


@contextmanager
def _database(where: str, at: str | None) -> Iterator[apsw.Connection]:
    """Open a replica, or a remote volume through a replica that is thrown away."""
    if is_replica(where):
        with closing(connect(where, at=at, flags=OPEN_FLAGS)) as connection:
            yield connection
        return
    address = parse_remote(where)
    if address.volume is None:
        raise NotAReplica(f"{where} is neither a replica nor the address of a volume (like s3://bucket/prefix#name)")
    with (
        tempfile.TemporaryDirectory(prefix="graft-") as parent,
        clone(Path(parent, address.volume), address, to_read=at is None) as replica,
        closing(connect(replica.path, at=at, flags=_READ_ONLY)) as connection,
    ):
        yield connection


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    """Turn apsw's errors into ours where one of ours is behind them, and into a sentence where not."""
    try:
        yield
    except apsw.BindingsError as error:
        raise click.UsageError("parameters of the SQL need names, as in :name") from error
    except apsw.Error as error:
        if isinstance(error.__cause__, GraftError):
            raise error.__cause__ from error
        if isinstance(error, apsw.BusyError):
            raise WriterBusy(f"{error}: another connection or process is writing") from error
        raise click.ClickException(str(error)) from error
    except KeyError as error:
        raise click.UsageError(f"the SQL has a parameter :{error.args[0]}; give it a value with -p") from error
    except UnicodeDecodeError as error:
        raise click.ClickException("a TEXT value is not UTF-8; select CAST(… AS BLOB) to read it") from error
