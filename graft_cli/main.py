"""The `graft` command: its table of subcommands, which are imported when they run."""

import os

import click

from graft_cli.exitcodes import ExitCode
from graft_cli.lazy_group import LazyCommand, Section
from graft_cli.options import show_traceback
from graft_cli.other_words import INSTEAD
from graft_cli.root import RootGroup

SECTIONS = (
    Section(
        "Start",
        (
            LazyCommand("init", "start:init", "Create an empty volume and a replica of it."),
            LazyCommand("clone", "start:clone", "Create a replica of an existing volume."),
            LazyCommand("import", "transfer:import_", "Load a database file into a volume."),
            LazyCommand("export", "transfer:export", "Write a version of a volume to a plain file."),
        ),
    ),
    Section(
        "Use",
        (
            LazyCommand("sql", "sql:sql", "Run SQL on a replica, or directly on a remote."),
            LazyCommand("shell", "shell:shell", "Open an SQLite shell on a replica."),
        ),
    ),
    Section(
        "Share",
        (
            LazyCommand("push", "sync:push", "Send local commits to the remote."),
            LazyCommand("pull", "sync:pull", "Move to the newest version of the remote."),
            LazyCommand("merge", "merge:merge", "Merge another branch into a replica."),
            LazyCommand("cherry-pick", "merge:pick", "Make the changes of one commit again."),
            LazyCommand("revert", "merge:revert", "Undo the changes of one commit."),
            LazyCommand("conflicts", "conflicts:conflicts", "List the conflicts that a merge recorded."),
            LazyCommand("resolve", "conflicts:resolve", "Settle a conflict that a merge recorded."),
            LazyCommand("fetch", "sync:fetch", "Learn the remote's newest LSN; change nothing."),
            LazyCommand("follow", "follow:follow", "Keep a replica fresh until Ctrl-C."),
            LazyCommand("hydrate", "sync:hydrate", "Fetch every page, to work offline."),
            LazyCommand("fork", "fork:fork", "Create a volume from a version of this one."),
            LazyCommand("branch", "branches:branch", "List, make or delete branches of a volume."),
            LazyCommand("switch", "branches:switch", "Move a replica to another branch."),
            LazyCommand("restore", "branches:restore", "Make an older version the newest content."),
            LazyCommand("tag", "branches:tag", "List, make or delete names of versions."),
            LazyCommand("serve", "serve:serve", "Serve documents that several people edit."),
            LazyCommand("cp", "volumes:cp", "Copy a volume to another remote or name."),
            LazyCommand("rm", "volumes:rm", "Remove a volume from its remote."),
            LazyCommand("mv", "volumes:mv", "Give a volume another name."),
            LazyCommand("gc", "gc:gc", "Delete what no retained version needs."),
            LazyCommand("maintain", "maintain:maintain", "Compact what needs it, then collect."),
            LazyCommand("pin", "gc:pin", "Keep a version for a while, whatever is collected."),
            LazyCommand("compact", "compact:compact", "Rewrite the newest version for cold readers."),
        ),
    ),
    Section(
        "Inspect",
        (
            LazyCommand("status", "inspect:status", "Compare a replica with its remote."),
            LazyCommand("log", "log:log", "List the commits of the remote, newest first."),
            LazyCommand("diff", "diff:diff", "Show which rows differ between two versions."),
            LazyCommand("changes", "history:changes", "Print what each commit changed, row by row."),
            LazyCommand("history", "history:history", "Show every value that a row had."),
            LazyCommand("blame", "history:blame", "Show which commit last changed each row."),
            LazyCommand("audit", "inspect:audit", "Count local and missing pages."),
            LazyCommand("verify", "inspect:verify", "Read and check the whole newest version."),
            LazyCommand("remote", "remote:remote", "Show or change the address of a replica's volume."),
            LazyCommand("volumes", "volumes:volumes", "List the volumes of a remote."),
            LazyCommand("du", "volumes:du", "Show how many bytes volumes take."),
            LazyCommand("doctor", "doctor:doctor", "Check this installation, a replica or a remote."),
            LazyCommand("version", "doctor:version", "Print the version of graft."),
        ),
    ),
)


EXAMPLES = (
    "graft import airports.db ./airports s3://bucket/data#airports --push",
    'graft sql ./airports "SELECT count(*) FROM airports"',
    "graft clone s3://bucket/data#airports ./elsewhere",
)


@click.group(
    cls=RootGroup,
    sections=SECTIONS,
    examples=EXAMPLES,
    instead=INSTEAD,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--traceback",
    is_flag=True,
    expose_value=False,
    callback=show_traceback,
    help="Show where an error comes from.",
)
@click.version_option(package_name="graft", prog_name="graft", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """SQLite databases that live in a bucket: opened lazily, versioned, forked and synced.

    A volume is a database with its history, stored in a remote: a bucket or a directory. A replica is a local directory
    in which you read and write the volume, also offline. Commits stay local until you push them. Queries fetch from the
    remote only the pages that they touch.

    A volume's address is s3://bucket/prefix#volume, with ?endpoint=https://… before the # for servers other than AWS,
    or a directory: ./remote#volume. Credentials come from the usual AWS variables and profiles.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 diverged, 4 the remote did not answer, 5 the remote refused,
    6 corrupt, 7 busy, 8 not fresh enough in time.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(ExitCode.USAGE)


def main() -> None:
    """Run `graft`."""
    try:
        cli(prog_name="graft")
    except SystemExit as end:
        if end.code == ExitCode.INTERRUPTED:
            os._exit(ExitCode.INTERRUPTED)  # Python would wait for threads that still wait for the remote
        raise
