"""The pragmas of a volume: a table of names and functions, each of which returns text for people.

`PRAGMA graft_status`, `PRAGMA schema.graft_pull='discard'`; docs/reference/pragmas.md shows them all. SQLite runs them
while it prepares the statement, in the thread that asked and under the connection's mutex.
"""

import dataclasses
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import apsw

from graft.errors import BadRequest
from graft.operations.compact import compact
from graft.operations.hydrate import hydrate
from graft.operations.log import log_entries
from graft.operations.status import Audit, Status, audit, status
from graft.operations.transfer import export_file
from graft.sync.fork import fork
from graft.sync.pull import POLICIES, Policy, fetch, pull
from graft.sync.push import push
from graft.sync.staleness import wait_for
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.pragma_context import PragmaContext
from graft_sqlite_vfs.read_bounds import WAIT_S, lsn_number, seconds
from graft_sqlite_vfs.render import Value, as_json, as_lines, as_table, byte_size, utc_time
from graft_sqlite_vfs.version_pragmas import branch_pragma, restore_pragma, switch_pragma, tag_pragma

PREFIX = "graft_"
_LOG_LIMIT = 20


def answer(pragma: str, value: str | None, context: PragmaContext) -> str | None:
    """Return the text of a pragma, None if its name is not graft's.

    Raises `BadRequest` for unknown names and wrong values, and what the pragma's operation raises.
    """
    name = pragma.lower()
    if not name.startswith(PREFIX):
        return None
    function = PRAGMAS.get(name.removeprefix(PREFIX))
    if function is None:
        raise BadRequest(f"unknown pragma {pragma}: use {', '.join(PREFIX + known for known in PRAGMAS)}")
    return function(context, value)


def _info(context: PragmaContext, value: str | None) -> str:
    replica = context.replica
    facts: dict[str, Value] = {
        "name": replica.name,
        "remote": replica.remote_address,
        "replica": str(replica.path),
        "volume": str(replica.volume),
        "log": str(replica.log),
        "page_size": replica.page_size,
        "durability": "read-only" if context.fixed else context.durability.value,
        "read_path": context.read_path,
    }
    return _laid_out("info", facts, value)


def _status(context: PragmaContext, value: str | None) -> str:
    return _laid_out("status", _facts(status(context.replica)), value)


def _snapshot(context: PragmaContext, value: str | None) -> str:
    snapshot = context.snapshot
    facts: dict[str, Value] = {
        "lsn": snapshot.lsn,
        "local_lsn": snapshot.local_lsn or None,
        "page_count": snapshot.page_count,
        "byte_size": snapshot.byte_size,
        "in_transaction": context.reading,
        "read_only": context.fixed,
    }
    return _laid_out("snapshot", facts, value)


def _audit(context: PragmaContext, value: str | None) -> str:
    return _laid_out("audit", _facts(audit(context.replica)), value)


def _version(_context: PragmaContext, value: str | None) -> str:
    facts: dict[str, Value] = {
        "graft": version("graft"),
        "sqlite": apsw.sqlite_lib_version(),
        "apsw": apsw.apsw_version(),
    }
    return _laid_out("version", facts, value)


def _log(context: PragmaContext, value: str | None) -> str:
    if value is not None and not value.isdecimal():
        raise BadRequest(f"PRAGMA graft_log takes the number of commits to show, not {value!r}")
    entries = list(log_entries(context.replica, int(value) if value else _LOG_LIMIT))
    if not entries:
        return f"volume {context.replica.name} has no remote commit yet"
    rows = [
        (
            str(entry.lsn),
            utc_time(entry.time_us),
            entry.author or "",
            entry.kind,
            str(entry.changed_pages),
            "" if entry.bytes is None else byte_size(entry.bytes),
            (entry.message or "").partition("\n")[0],
        )
        for entry in entries
    ]
    return as_table(("LSN", "time", "author", "kind", "pages", "bytes", "message"), rows)


def _fetch(context: PragmaContext, value: str | None) -> str:
    _no_value("fetch", value)
    found = fetch(context.replica)
    if found.head == found.lsn:
        return f"up to date at LSN {found.lsn}"
    return f"the remote is at LSN {found.head}, this replica is at LSN {found.lsn}: pull to catch up"


def _pull(context: PragmaContext, value: str | None) -> str:
    if context.writing:
        raise BadRequest(
            f"volume {context.replica.name}: this connection has a write transaction open, and a pull would replace "
            "the version that it is based on: COMMIT or ROLLBACK first"
        )
    policy, fork_name, conflicts = _policy(value)
    done = pull(context.replica, policy=policy, fork_name=fork_name, conflicts=conflicts)
    moved = done.after != done.before
    lines = [f"pulled LSN {done.before} to {done.after}" if moved else f"up to date at LSN {done.after}"]
    if done.forked_to:
        lines.append(f"local commits moved to the new volume {done.forked_to}: {done.discarded_commits}")
    elif done.discarded_commits:
        lines.append(f"local commits discarded: {done.discarded_commits}")
    elif done.merged is not None:
        lines.append(f"local changes {done.merged.summary()}")
    if context.fixed:
        lines.append("this connection still reads the version that it was opened at")
    elif context.reading:
        lines.append("the open transaction still reads the version that it began with")
    return "\n".join(lines)


def _merge(context: PragmaContext, value: str | None) -> str:
    return _pull(context, f"merge:{value}" if value else "merge")


def _wait(context: PragmaContext, value: str | None) -> str:
    if context.writing:
        raise BadRequest(f"volume {context.replica.name}: COMMIT or ROLLBACK before waiting for another version")
    lsn, _, wait_s = _needed("wait", "an LSN, and optionally seconds to wait (default 30)", value).partition(" ")
    done = wait_for(context.replica, lsn_number(lsn), timeout_s=seconds("wait", wait_s) if wait_s else WAIT_S)
    return f"at LSN {done.lsn}"


def _max_staleness(context: PragmaContext, value: str | None) -> str:
    if value is not None:
        off = value.lower() == "off"
        context.bounds.max_staleness_s = None if off else seconds("PRAGMA graft_max_staleness_s", value)
    bound = context.bounds.max_staleness_s
    return "off" if bound is None else f"{bound:g}"


def _push(context: PragmaContext, value: str | None) -> str:
    done = push(context.replica, message=value or None, layout=btree_layout)
    if done.after == done.before:
        return f"nothing to push, at LSN {done.after}"
    return f"pushed LSN {done.after}: {done.pages} pages in {byte_size(done.bytes)}"


def _compact(context: PragmaContext, value: str | None) -> str:
    if value is not None and value.lower() != "scattered":
        raise BadRequest(f"PRAGMA graft_compact takes 'scattered' or no value, not {value!r}")
    done = compact(context.replica, layout=btree_layout, scattered_only=value is not None)
    if done.after == done.before:
        return f"nothing to compact, at LSN {done.after}"
    return (
        f"compacted LSN {done.before} to {done.after}: {done.pages} pages in {byte_size(done.bytes)}, "
        f"{done.frames_before} frames became {done.frames_after}"
    )


def _hydrate(context: PragmaContext, value: str | None) -> str:
    _no_value("hydrate", value)
    done = hydrate(context.replica)
    if not done.frames:
        return "every page is already cached"
    return f"fetched {done.pages} pages ({byte_size(done.bytes)}) in {done.frames} frames"


def _fork(context: PragmaContext, value: str | None) -> str:
    name = _needed("fork", "the name of the new volume", value)
    done = fork(context.replica, name, at=context.fixed_version)
    return f"forked to volume {done.name}, at its LSN {done.lsn}"


def _export(context: PragmaContext, value: str | None) -> str:
    path = Path(_needed("export", "the path of the file to write", value))
    done = export_file(context.snapshot, path)
    return f"exported {done.pages} pages ({byte_size(done.bytes)}) to {path.absolute()}"


PRAGMAS: dict[str, Callable[[PragmaContext, str | None], str]] = {
    "audit": _audit,
    "branch": branch_pragma,
    "compact": _compact,
    "export": _export,
    "fetch": _fetch,
    "fork": _fork,
    "hydrate": _hydrate,
    "info": _info,
    "log": _log,
    "max_staleness_s": _max_staleness,
    "merge": _merge,
    "pull": _pull,
    "push": _push,
    "restore": restore_pragma,
    "snapshot": _snapshot,
    "status": _status,
    "switch": switch_pragma,
    "tag": tag_pragma,
    "version": _version,
    "wait": _wait,
}
"""Functions by pragma name without the prefix."""


def _laid_out(pragma: str, facts: dict[str, Value], form: str | None) -> str:
    if form is None:
        return as_lines(facts)
    if form.lower() != "json":
        raise BadRequest(f"PRAGMA graft_{pragma} takes 'json' or no value, not {form!r}")
    return as_json(facts)


def _facts(found: Status | Audit) -> dict[str, Value]:
    values = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    plain = int | float | str | None
    return {name: value if isinstance(value, plain) else str(value) for name, value in values.items()}


def _policy(value: str | None) -> tuple[Policy, str | None, str]:
    """Return the policy of a pull, the name of a fork, and the policy for conflicts."""
    name, _, more = (value or "abort").partition(":")
    for policy in POLICIES:
        if policy == name.lower() and (policy == "merge" or bool(more) == (policy == "fork")):
            return (policy, None, more or "fail") if policy == "merge" else (policy, more or None, "fail")
    raise BadRequest(
        "PRAGMA graft_pull takes 'abort', 'discard', 'merge', 'merge:ours', 'merge:theirs', 'merge:record' or "
        f"'fork:name-of-the-new-volume', not {value!r}"
    )


def _no_value(pragma: str, value: str | None) -> None:
    if value is not None:
        raise BadRequest(f"PRAGMA graft_{pragma} takes no value, not {value!r}")


def _needed(pragma: str, what: str, value: str | None) -> str:
    if not value:
        raise BadRequest(f"PRAGMA graft_{pragma} needs {what}: PRAGMA graft_{pragma}='…'")
    return value
