"""The `graft` command: what it is made of. The commands themselves are imported when they run."""

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
            LazyCommand("init", "graft_cli.start:init", "Make a new, empty volume and a replica of it."),
            LazyCommand("clone", "graft_cli.start:clone", "Make a replica of a volume that is there."),
            LazyCommand("import", "graft_cli.transfer:import_", "Put a database file into a volume."),
            LazyCommand("export", "graft_cli.transfer:export", "Write a version of a volume to a plain file."),
        ),
    ),
    Section(
        "Use",
        (
            LazyCommand("sql", "graft_cli.sql:sql", "Run SQL on a replica, or straight on a remote."),
            LazyCommand("shell", "graft_cli.shell:shell", "Open an SQLite shell on a replica."),
        ),
    ),
    Section(
        "Share",
        (
            LazyCommand("push", "graft_cli.sync:push", "Send the local commits to the remote."),
            LazyCommand("pull", "graft_cli.sync:pull", "Move to the newest version of the remote."),
            LazyCommand("fetch", "graft_cli.sync:fetch", "Look how far the remote is; move nothing."),
            LazyCommand("follow", "graft_cli.follow:follow", "Keep a replica fresh until Ctrl-C."),
            LazyCommand("hydrate", "graft_cli.sync:hydrate", "Fetch every page, to work offline."),
            LazyCommand("fork", "graft_cli.fork:fork", "Make a new volume that starts as this one is."),
            LazyCommand("serve", "graft_cli.serve:serve", "Serve documents that many edit at once."),
            LazyCommand("compact", "graft_cli.compact:compact", "Lay the newest version out anew for cold readers."),
        ),
    ),
    Section(
        "Look",
        (
            LazyCommand("status", "graft_cli.inspect:status", "Show a replica against its remote."),
            LazyCommand("log", "graft_cli.inspect:log", "List the commits of the remote, newest first."),
            LazyCommand("audit", "graft_cli.inspect:audit", "Count which pages are here and which are not."),
            LazyCommand("verify", "graft_cli.inspect:verify", "Read all of the newest version and check it."),
            LazyCommand("remote", "graft_cli.remote:remote", "Show where a volume is, or set another address."),
            LazyCommand("volumes", "graft_cli.inspect:volumes", "List the volumes of a remote."),
            LazyCommand("doctor", "graft_cli.doctor:doctor", "Check this installation, and a remote."),
            LazyCommand("version", "graft_cli.doctor:version", "Print the version of graft."),
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

    A volume is a database with a history, kept in a bucket or a directory: the remote. A replica is a local directory
    in which the volume is read and written, offline too. Commits stay local until they are pushed; of what is in the
    remote, only the pages that queries touch are fetched.

    A remote is s3://bucket/prefix#volume, with ?endpoint=https://… before the # for other servers than AWS, or a
    directory: ./remote#volume. Credentials come from the usual AWS variables and profiles.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 diverged, 4 the remote did not answer, 5 the remote refused,
    6 corrupt, 7 busy, 8 not as fresh as asked in time.
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
            os._exit(ExitCode.INTERRUPTED)  # threads may still be waiting for the remote; Python would wait for them
        raise
