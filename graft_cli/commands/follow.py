"""`graft follow`: keeps a replica fresh until Ctrl-C, and reports each change."""

import time
from collections.abc import Callable
from pathlib import Path

import click

from graft.replica.opening import open_replica
from graft.replica.replica import Replica
from graft.sync.follow import Event, Polled, PollFailed, poll_policy, watch
from graft_cli.human import counted, iso
from graft_cli.interrupts import interruptible
from graft_cli.options import as_json_lines, command, directory
from graft_cli.output import as_json_text, say
from graft_cli.root import complain


@command(
    "follow",
    "graft follow ./airports",
    "graft follow ./airports --interval 0.2 --max-interval 5",
    "graft follow ./airports --metrics 9187",
    "graft follow ./airports --until 12",
)
@directory
@click.option("--interval", type=float, metavar="SECONDS", help="Wait this long after a change (1 by default).")
@click.option(
    "--max-interval", type=float, metavar="SECONDS", help="Wait at most this long between polls (30 by default)."
)
@click.option(
    "--requests-per-hour", type=int, metavar="COUNT", help="Wait longer to stay below this rate (7200 by default)."
)
@click.option("--until", type=click.IntRange(min=0), metavar="LSN", help="Exit with code 0 at this LSN.")
@click.option(
    "--metrics", metavar="PORT|FILE", help="Serve metrics for Prometheus at 127.0.0.1:PORT, or write them to FILE."
)
@as_json_lines
def follow(
    directory: Path,
    interval: float | None,
    max_interval: float | None,
    requests_per_hour: int | None,
    until: int | None,
    metrics: str | None,
    as_json: bool,
) -> None:
    """Keep DIR fresh: poll its remote, and pull new commits. No page is downloaded.

    A poll is one request; the wait between polls grows while nothing changes. If the remote does not answer, the next
    poll comes later each time. Several processes may follow one replica, and together poll no more often than one.
    Readers of DIR see new commits from their next transaction on. The command ends with Ctrl-C, or when you must
    decide: exit code 3 if local commits diverge from the remote, 5 or 6 if the remote refuses or is corrupt.
    """
    with open_replica(directory) as replica:
        policy = poll_policy(
            replica, interval_s=interval, interval_s_max=max_interval, requests_per_hour=requests_per_hour
        )
        publish = _publisher(replica, metrics)
        report = _as_json if as_json else _Reporter(replica)
        with interruptible(lambda: f"stopped: {replica.name} is at LSN {replica.view().state.lsn}"):
            for event in watch(replica, policy):
                report(event)
                publish()
                if until is not None and replica.view().state.lsn >= until:
                    return


class _Reporter:
    """Prints changes for people; a poll that finds nothing prints nothing."""

    def __init__(self, replica: Replica) -> None:
        self._name = replica.name
        self._away = False
        say(f"Following {replica.remote_address} from LSN {replica.view().state.lsn}")

    def __call__(self, event: Event) -> None:
        match event:
            case PollFailed(error, failures, wait_s):
                self._away = True
                complain(f"{' '.join(str(error).split())} (try {failures}; again in {wait_s:.1f} s)")
            case Polled(before, after):
                if self._away:
                    self._away = False
                    complain("the remote answers again")
                if event.moved:
                    say(f"LSN {after}: {counted(after - before, 'new commit')}")


def _as_json(event: Event) -> None:
    when = {"time": iso(time.time_ns() // 1000)}
    match event:
        case PollFailed(error, failures, wait_s):
            facts = {"event": "failed", "error": str(error), "failures": failures, "wait_s": round(wait_s, 3)}
            say(as_json_text(when | facts))
        case Polled(before, after, requests) if event.moved:
            say(as_json_text(when | {"event": "moved", "before": before, "after": after, "requests": requests}))


def _publisher(replica: Replica, where: str | None) -> Callable[[], None]:
    if where is None:
        return lambda: None
    try:
        from graft.operations.prometheus import keep_in_file, serve  # noqa: PLC0415 - an extra that few commands need
    except ImportError as error:
        raise click.ClickException(
            f"--metrics needs prometheus-client, the extra 'metrics': in a checkout, pip install '.[metrics]' ({error})"
        ) from error
    if where.isdecimal() and int(where) > 65535:
        raise click.BadParameter(f"{where} is not a port: use 0 to 65535", param_hint="'--metrics'")
    if where.isdecimal():
        click.echo(f"graft: metrics are at {serve(replica, int(where))}", err=True)
        return lambda: None
    return keep_in_file(replica, Path(where))
