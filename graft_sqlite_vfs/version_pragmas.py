"""The pragmas that name versions, and go to them: tags, branches, switching."""

import shlex

from graft.errors import BadRequest
from graft.sync.branches import Branch, delete_branch, list_branches
from graft.sync.fork import fork
from graft.sync.switch import SwitchResult, switch
from graft.sync.tags import Tag, delete_tag, list_tags, tag
from graft_sqlite_vfs.pragma_context import PragmaContext
from graft_sqlite_vfs.render import as_table, utc_time

_DELETES = ("-d", "--delete")


def tag_pragma(context: PragmaContext, value: str | None) -> str:
    """List tags, make one (``NAME [VERSION]``), or delete one (``-d NAME``)."""
    words = _words("tag", value)
    match words:
        case []:
            return _tags(list_tags(context.replica))
        case [("-d" | "--delete"), name]:
            return f"deleted the tag {name} of LSN {delete_tag(context.replica, name).lsn}"
        case [name] if name not in _DELETES:
            made = tag(context.replica, name, context.fixed_version)
        case [name, version] if name not in _DELETES:
            made = tag(context.replica, name, version)
        case _:
            raise BadRequest(f"PRAGMA graft_tag takes 'NAME', 'NAME VERSION', '-d NAME' or no value, not {value!r}")
    return f"tagged LSN {made.lsn} as {made.name}"


def branch_pragma(context: PragmaContext, value: str | None) -> str:
    """List branches, make one (``NAME [VERSION]``), or delete one (``-d NAME``)."""
    words = _words("branch", value)
    match words:
        case []:
            return _branches(list_branches(context.replica))
        case [("-d" | "--delete"), name]:
            return f"deleted the branch {name}, at its LSN {delete_branch(context.replica, name).lsn}"
        case [name] if name not in _DELETES:
            made = fork(context.replica, name, at=context.fixed_version)
        case [name, version] if name not in _DELETES:
            made = fork(context.replica, name, at=version)
        case _:
            raise BadRequest(f"PRAGMA graft_branch takes 'NAME', 'NAME VERSION', '-d NAME' or no value, not {value!r}")
    return f"made the branch {made.name}, at its LSN {made.lsn}"


def switch_pragma(context: PragmaContext, value: str | None) -> str:
    """Move the replica to another branch (``NAME``, ``-c NAME [VERSION]``), or name the one that it is on."""
    if value is None:
        return context.replica.name
    if context.writing:
        raise BadRequest(
            f"volume {context.replica.name}: this connection has a write transaction open, and switching would replace "
            "the version that it is based on: COMMIT or ROLLBACK first"
        )
    match _words("switch", value):
        case ["-c", name]:
            done = switch(context.replica, name, create=True, at=context.fixed_version)
        case ["-c", name, version]:
            done = switch(context.replica, name, create=True, at=version)
        case ["--discard", name] | [name, "--discard"]:
            done = switch(context.replica, name, discard=True)
        case [name]:
            done = switch(context.replica, name)
        case _:
            raise BadRequest(
                f"PRAGMA graft_switch takes 'NAME', '-c NAME', '-c NAME VERSION' or '--discard NAME', not {value!r}"
            )
    return "\n".join([switched(done), *_still_reads(context)])


def restore_pragma(context: PragmaContext, value: str | None) -> str:
    """Make a commit with the content of an older version (``VERSION``)."""
    if context.writing:
        raise BadRequest(
            f"volume {context.replica.name}: this connection has a write transaction open, and restoring would replace "
            "the version that it is based on: COMMIT or ROLLBACK first"
        )
    if not value:
        raise BadRequest("PRAGMA graft_restore needs the version to restore: PRAGMA graft_restore='…'")
    from graft.retention.restore import restore  # noqa: PLC0415 - most programs never do that

    done = restore(context.replica, value)
    if done.before == done.after:
        return f"the content of LSN {done.restored} is the newest already, at LSN {done.after}"
    text = f"restored LSN {done.restored} as LSN {done.after}: {done.pages} pages changed"
    return "\n".join([text, *_still_reads(context)])


def switched(done: SwitchResult) -> str:
    """Tell where a replica went."""
    if done.before == done.after:
        return f"already on {done.after}, at LSN {done.lsn}"
    local = (
        f"; local commits that went along: {done.carried_commits}" if done.carried_commits
        else f"; local commits discarded: {done.discarded_commits}" if done.discarded_commits
        else ""
    )  # fmt: skip
    new = "the new branch " if done.created else ""
    return f"switched from {done.before} to {new}{done.after}, at LSN {done.lsn}{local}"


def _still_reads(context: PragmaContext) -> list[str]:
    if context.fixed:
        return ["this connection still reads the version that it was opened at"]
    return ["the open transaction still reads the version that it began with"] if context.reading else []


def _tags(tags: list[Tag]) -> str:
    if not tags:
        return "no tags"
    rows = [(found.name, str(found.lsn), utc_time(found.time_us), found.author, found.message or "") for found in tags]
    return as_table(("tag", "LSN", "made", "author", "message"), rows)


def _branches(branches: list[Branch]) -> str:
    rows = [
        (
            "*" if found.current else "",
            found.name,
            str(found.lsn),
            f"{found.parent or '(deleted)'} at LSN {found.start}" if found.start else "",
        )
        for found in branches
    ]
    return as_table(("", "branch", "LSN", "forked from"), rows)


def _words(pragma: str, value: str | None) -> list[str]:
    try:
        return shlex.split(value or "")
    except ValueError as error:
        raise BadRequest(f"PRAGMA graft_{pragma} cannot read {value!r}: {error}") from None
