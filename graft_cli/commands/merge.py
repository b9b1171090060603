"""`graft merge`, `cherry-pick` and `revert`: changes of other versions, made to what a replica has."""

from collections.abc import Callable
from typing import Any

import click

from graft.replica.opening import open_replica
from graft_cli.human import counted
from graft_cli.options import as_json, command, conflict_policy, split_directory
from graft_cli.output import document, say
from graft_sqlite_vfs.merge.versions import Applied, cherry_pick, merge_version
from graft_sqlite_vfs.merge.versions import revert as revert_version


@command("merge", "graft merge experiment", "graft merge experiment@v2 ./airports --conflicts record")
@click.argument("words", metavar="VERSION [DIR]", nargs=-1)
@conflict_policy
@as_json
def merge(words: tuple[str, ...], conflicts: str, as_json: bool) -> None:
    """Merge another branch of DIR's volume, or a version of one, into DIR, as one local commit.

    The changes are those since the branches parted, or since the branch was merged last. If a row was changed on both
    sides, the exit code is 3 and nothing changes, unless --conflicts says otherwise: ours is DIR's side. To merge what
    another replica pushed to the same branch, use graft pull --policy merge.
    """
    _apply(merge_version, "Merged", words, conflicts, as_json=as_json)


@command("cherry-pick", "graft cherry-pick 12", "graft cherry-pick experiment@9 ./airports")
@click.argument("words", metavar="VERSION [DIR]", nargs=-1)
@conflict_policy
@as_json
def pick(words: tuple[str, ...], conflicts: str, as_json: bool) -> None:
    """Make the changes of one commit, of any branch, to DIR's newest version, as one local commit."""
    _apply(cherry_pick, "Picked", words, conflicts, as_json=as_json)


@command("revert", "graft revert 12", "graft revert 12 ./airports --conflicts theirs")
@click.argument("words", metavar="VERSION [DIR]", nargs=-1)
@conflict_policy
@as_json
def revert(words: tuple[str, ...], conflicts: str, as_json: bool) -> None:
    """Undo the changes of one commit in DIR's newest version, as one local commit.

    A row that was changed again since is a conflict: --conflicts ours leaves it, theirs puts the old row back. graft
    restore goes back to a whole version.
    """
    _apply(revert_version, "Reverted", words, conflicts, as_json=as_json)


def _apply(how: Callable[..., Applied], said: str, words: tuple[str, ...], conflicts: str, *, as_json: bool) -> None:
    directory, given = split_directory(words)
    if len(given) != 1:
        raise click.UsageError("expected VERSION [DIR]: which version")
    with open_replica(directory) as replica:
        done: Any = how(replica, given[0], conflicts=conflicts)
    if as_json:
        document(done)
    elif done.committed:
        say(f"{said} {given[0]}: {done.merged.summary()}; {counted(1, 'local commit')} to push")
    else:
        say(f"Nothing to do: all changes of {given[0]} are here")
