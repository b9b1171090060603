"""`graft tag`, `branch`, `switch` and `restore`: names of versions, and going to them."""

import click

from graft.replica.opening import open_replica
from graft.retention.restore import restore as graft_restore
from graft.sync.branches import Branch, list_branches
from graft.sync.branches import delete_branch as graft_delete_branch
from graft.sync.fork import fork as graft_fork
from graft.sync.switch import SwitchResult
from graft.sync.switch import switch as graft_switch
from graft.sync.tags import Tag, list_tags
from graft.sync.tags import delete_tag as graft_delete_tag
from graft.sync.tags import tag as graft_tag
from graft_cli.human import counted, moment
from graft_cli.options import as_json, command, split_directory
from graft_cli.output import document, plain, say
from graft_cli.rows import Table


@command("tag", "graft tag v1", "graft tag before-the-move 41 ./airports", "graft tag -d v1")
@click.argument("words", metavar="[NAME [VERSION]] [DIR]", nargs=-1)
@click.option("-m", "--message", help="What the version is, for the list.")
@click.option("-d", "--delete", is_flag=True, help="Delete the tag NAME; the version stays.")
@click.option("-f", "--force", is_flag=True, help="Move a tag that stands for another version.")
@as_json
def tag(words: tuple[str, ...], message: str | None, delete: bool, force: bool, as_json: bool) -> None:
    """Name a version of DIR's volume, list the tags, or delete one.

    VERSION is an LSN, a time, another tag, a branch, or BRANCH@VERSION. The default is the version that DIR builds on.
    A tag can be used wherever a version can. It does not move, unless --force moves it.
    """
    directory, given = split_directory(words)
    if len(given) > (1 if delete else 2):
        raise click.UsageError("expected [NAME [VERSION]] [DIR], and got more")
    if not given and (delete or force or message is not None):
        raise click.UsageError("missing argument 'NAME': which tag")
    with open_replica(directory) as replica:
        if not given:
            _list_tags(list_tags(replica), as_json=as_json)
            return
        if delete:
            done = graft_delete_tag(replica, given[0])
            said = f"Deleted the tag {done.name} of LSN {done.lsn}"
        else:
            done = graft_tag(replica, given[0], *given[1:], message=message, force=force)
            said = f"Tagged LSN {done.lsn} of {replica.name} as {done.name}"
    if as_json:
        document(done)
    else:
        say(said)


@command("branch", "graft branch", "graft branch experiment", "graft branch old v1", "graft branch -d experiment")
@click.argument("words", metavar="[NAME [VERSION]] [DIR]", nargs=-1)
@click.option("-d", "--delete", is_flag=True, help="Delete the branch NAME.")
@click.option("-f", "--force", is_flag=True, help="Delete it even if it has commits of its own, or tags.")
@as_json
def branch(words: tuple[str, ...], delete: bool, force: bool, as_json: bool) -> None:
    """Make a branch of DIR's volume, list the branches, or delete one.

    A branch is a volume in the same remote that starts at VERSION, by default as DIR is now, local commits included. No
    page is copied. DIR stays where it is: graft switch NAME goes there.
    """
    directory, given = split_directory(words)
    if len(given) > (1 if delete else 2):
        raise click.UsageError("expected [NAME [VERSION]] [DIR], and got more")
    if force and not delete:
        raise click.UsageError("--force goes with --delete: a branch is never replaced")
    if delete and not given:
        raise click.UsageError("missing argument 'NAME': which branch")
    with open_replica(directory) as replica:
        if not given:
            _list_branches(list_branches(replica), as_json=as_json)
        elif delete:
            gone = graft_delete_branch(replica, given[0], force=force)
            if as_json:
                document(gone)
            else:
                say(f"Deleted the branch {gone.name}, which was at LSN {gone.lsn}")
        else:
            made = graft_fork(replica, given[0], at=given[1] if len(given) > 1 else None)
            if as_json:
                document(made, remote=f"{replica.store_url}#{made.name}")
            else:
                say(f"Made the branch {made.name} at LSN {made.lsn}; to go there: graft switch {made.name}")


@command("switch", "graft switch experiment", "graft switch -c experiment", "graft switch -c old v1 ./airports")
@click.argument("words", metavar="NAME [VERSION] [DIR]", nargs=-1)
@click.option("-c", "--create", is_flag=True, help="Make the branch first, at VERSION or as DIR is now.")
@click.option("--discard", is_flag=True, help="Give local commits up that the branch does not build on.")
@as_json
def switch(words: tuple[str, ...], create: bool, discard: bool, as_json: bool) -> None:
    """Make DIR a replica of another branch of its volume, at its newest version.

    Local commits go along to a branch that is at the version that they build on, as a new one is. Otherwise they must
    be pushed before, or are given up with --discard. Connections that are open read the branch from their next
    transaction on.
    """
    directory, given = split_directory(words)
    if not given:
        raise click.UsageError("missing argument 'NAME': the branch to go to")
    if len(given) > (2 if create else 1):
        raise click.UsageError("expected NAME [DIR], or with --create NAME [VERSION] [DIR], and got more")
    with open_replica(directory) as replica:
        at = given[1] if len(given) > 1 else None
        done = graft_switch(replica, given[0], create=create, at=at, discard=discard)
    if as_json:
        document(done)
    else:
        say(_switched(done))


@command("restore", "graft restore 41", "graft restore v1 ./airports")
@click.argument("words", metavar="VERSION [DIR]", nargs=-1)
@click.option("-m", "--message", help="The message of the commit; by default which LSN was restored.")
@as_json
def restore(words: tuple[str, ...], message: str | None, as_json: bool) -> None:
    """Make a commit whose content is that of an older VERSION: an LSN, a time, a tag, a branch, or BRANCH@VERSION.

    No page is moved: the commit lists the places that differ. It is appended to the remote at once, and DIR goes there.
    What came after VERSION stays in the history. Local commits must be pushed or given up before.
    """
    directory, given = split_directory(words)
    if len(given) != 1:
        raise click.UsageError("missing argument 'VERSION'" if not given else "expected VERSION [DIR], and got more")
    with open_replica(directory) as replica:
        done = graft_restore(replica, given[0], message=message)
        name = replica.name
    if as_json:
        document(done)
    elif done.before == done.after:
        say(f"The content of LSN {done.restored} is the newest already, at LSN {done.after}")
    else:
        pages = counted(done.pages, "page")
        say(f"Restored LSN {done.restored} of {name} as LSN {done.after}: {pages} changed, none was moved")


def _switched(done: SwitchResult) -> str:
    if done.before == done.after:
        return f"Already on {done.after}, at LSN {done.lsn}"
    local = ""
    if done.carried_commits:
        local = f"; {counted(done.carried_commits, 'local commit')} went along"
    elif done.discarded_commits:
        local = f"; {counted(done.discarded_commits, 'local commit')} discarded"
    new = "the new branch " if done.created else ""
    return f"Switched from {done.before} to {new}{done.after}, at LSN {done.lsn}{local}"


def _list_tags(tags: list[Tag], *, as_json: bool) -> None:
    if as_json:
        document({"tags": [plain(found) for found in tags]})
        return
    table = Table()
    if tags:
        table.begin(["tag", "LSN", "made", "author", "message"])
    for found in tags:
        table.row([found.name, found.lsn, moment(found.time_us), found.author, found.message or ""])
    table.end()


def _list_branches(branches: list[Branch], *, as_json: bool) -> None:
    if as_json:
        document({"branches": [plain(found) for found in branches]})
        return
    for found in branches:
        whence = f"  (from {found.parent or 'a deleted branch'} at LSN {found.start})" if found.start else ""
        say(f"{'*' if found.current else ' '} {found.name}  LSN {found.lsn}{whence}")
