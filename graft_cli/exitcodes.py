"""The exit codes of `graft`, which scripts act on (docs/reference/cli.md)."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    """It could not be done; the message says why."""
    USAGE = 2
    """The command line makes no sense; nothing was tried."""
    DIVERGED = 3
    """The replica and the remote both have new commits: choose a policy."""
    UNAVAILABLE = 4
    """The remote did not answer: try again later."""
    REFUSED = 5
    """The remote answered no: mend the set-up."""
    CORRUPT = 6
    """Bytes fail a check, or commits are lost: report it."""
    BUSY = 7
    """Somebody else is writing: try again soon."""
    TOO_STALE = 8
    """What was asked for has not come in time: try again later, or be content with less."""
    INTERRUPTED = 130
    """Ctrl-C."""
    BROKEN_PIPE = 141
    """Whoever read the output went away, as `head` does."""
