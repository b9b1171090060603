"""A volume as an SQLite database, for the commands that run SQL."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import click

from graft.errors import GraftError, WriterBusy
from graft.remote.address import parse_remote
from graft.replica.directory import is_replica, not_a_replica
from graft.sync.clone import clone
from graft_cli.root import complain
from graft_sqlite_vfs.connection import OPEN_FLAGS, connect
from pagestore.mistyped import looks_like_url

_READ_ONLY = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
_STEPS_BETWEEN_SIGNALS = 100_000


@contextmanager
def database(where: str, at: str | None) -> Iterator[apsw.Connection]:
    """Open a replica, or a remote volume through a temporary replica; Ctrl-C stops its statements."""
    if is_replica(where):
        with closing(connect(where, at=at, flags=OPEN_FLAGS)) as connection:
            _look_for_ctrl_c(connection)
            yield connection
        return
    if "#" not in where and not looks_like_url(where):
        raise not_a_replica(
            Path(where),
            "graft init and graft clone create replicas",
            what="is neither a replica nor the address of a volume (like s3://bucket/prefix#name)",
        )
    address = parse_remote(where)
    if address.volume is None:
        raise click.UsageError(f"the address of a volume must end with its name: {address.store_url}#name")
    with (
        tempfile.TemporaryDirectory(prefix="graft-") as parent,
        clone(Path(parent, address.volume), address, to_read=at is None) as replica,
        closing(connect(replica.path, at=at, flags=_READ_ONLY)) as connection,
    ):
        _look_for_ctrl_c(connection)
        yield connection


def _look_for_ctrl_c(connection: apsw.Connection) -> None:
    # Python handles Ctrl-C only while its own code runs, and a long SQL statement runs in C.
    connection.set_progress_handler(lambda: False, _STEPS_BETWEEN_SIGNALS)


@contextmanager
def sqlite_errors() -> Iterator[None]:
    """Turn an apsw error into the graft error that caused it, or into a one-line message if there is none."""
    try:
        yield
    except apsw.BindingsError as error:
        raise click.UsageError("SQL parameters need names, as in :name") from error
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


def left_open(connections: Iterable[apsw.Connection]) -> bool:
    """Warn about transactions that the command leaves open; return whether their changes are lost."""
    lost = False
    for connection in connections:
        try:
            state = connection.txn_state() if connection.in_transaction else None
        except apsw.ConnectionClosedError:
            continue
        if state == apsw.SQLITE_TXN_WRITE:
            lost = True
            complain("a transaction was still open: its changes are rolled back (use COMMIT)")
        elif state is not None:
            complain("a transaction was still open, without changes")
    return lost
