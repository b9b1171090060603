"""The exit codes of `graft`, on which scripts rely (docs/reference/cli.md)."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    """The command failed; the message says why."""
    USAGE = 2
    """The command line is wrong; nothing was done."""
    DIVERGED = 3
    """The replica and the remote both have new commits: choose a policy."""
    UNAVAILABLE = 4
    """The remote did not answer: try again later."""
    REFUSED = 5
    """The remote refused the request: correct the configuration."""
    CORRUPT = 6
    """Bytes fail a check, or commits are lost: report it."""
    BUSY = 7
    """Another connection or process is writing: try again soon."""
    TOO_STALE = 8
    """The requested version did not arrive in time: try again later, or accept an older one."""
    INTERRUPTED = 130
    """Ctrl-C."""
    BROKEN_PIPE = 141
    """The reader of the output closed the pipe, as `head` does."""
