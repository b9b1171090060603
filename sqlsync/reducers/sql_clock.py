"""SQL's clock for reducers: SQLite's date and time functions, in which "now" is the time of the mutation's call.

A separate, empty connection does the calculation. Modifiers that depend on the machine's time zone are refused, since
the result would differ on another machine.
"""

import datetime as dt
from collections.abc import Callable
from functools import partial
from typing import Any

import apsw

from sqlsync.errors import ReducerFailed

_FUNCTIONS = ("date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff")
_KEYWORDS = {"current_date": "date", "current_time": "time", "current_timestamp": "datetime"}
_PRECISION = frozenset({"subsec", "subsecond"})
_MACHINE = frozenset({"localtime", "utc"})


def install(connection: apsw.Connection, now: Callable[[], dt.datetime]) -> None:
    """Replace the clock of a connection; ``now`` returns the time, in UTC."""
    calendar = apsw.Connection(":memory:")
    for function in _FUNCTIONS:
        if calendar.execute("SELECT 1 FROM pragma_function_list WHERE name = ?", (function,)).fetchone():
            connection.create_scalar_function(
                function, partial(_answer, calendar, function, now), -1, deterministic=True
            )
    for keyword, function in _KEYWORDS.items():
        connection.create_scalar_function(keyword, partial(_answer, calendar, function, now), 0, deterministic=True)


def arguments_at(function: str, arguments: tuple[Any, ...], now: Callable[[], dt.datetime]) -> list[Any]:
    """Return a call's arguments with the time in place of an explicit or implied "now"; raises `ReducerFailed`."""
    found, first = list(arguments), 1 if function == "strftime" else 0
    if function == "timediff":
        return [_moment(now()) if _word(argument) == "now" else argument for argument in found]
    if len(found) < first:
        return found
    if len(found) == first or _word(found[first]) in _PRECISION:
        found.insert(first, "now")
    if _word(found[first]) == "now":
        found[first] = _moment(now())
    for modifier in found[first + 1 :]:
        if _word(modifier) in _MACHINE:
            raise ReducerFailed(
                f"{function}(…, {modifier!r}) depends on the machine's time zone: in reducers all times are UTC"
            )
    return found


def _answer(calendar: apsw.Connection, function: str, now: Callable[[], dt.datetime], *arguments: Any) -> Any:
    given = arguments_at(function, arguments, now)
    marks = ", ".join("?" * len(given))
    row = calendar.execute(f"SELECT {function}({marks})", given).fetchone()
    return row and row[0]


def _moment(now: dt.datetime) -> str:
    """Return a time to the millisecond, like SQLite's own "now"."""
    return now.replace(tzinfo=None).isoformat(" ", "milliseconds")


def _word(argument: Any) -> str | None:
    return argument.lower() if isinstance(argument, str) else None
