"""Ctrl-C: explain the state that the command leaves, and exit soon.

first Ctrl-C    KeyboardInterrupt; the work under way is cleaned up, which may wait for the remote
2 s later       the process exits without waiting; it can be killed at any point without losing data
second Ctrl-C   the process exits at once
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from graft_cli.exitcodes import ExitCode

GRACE_S = 2.0


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with a message about the state that the command left."""


@contextmanager
def interruptible(explain: Callable[[], str]) -> Iterator[None]:
    """Run a block; after Ctrl-C, ``explain`` returns a sentence about the state of its work."""
    with _soon(explain):
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(explain()) from None


@contextmanager
def _soon(explain: Callable[[], str]) -> Iterator[None]:
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is not signal.default_int_handler:
        yield  # the signal is already handled otherwise, for example ignored by nohup
        return

    def go(_number: int, _frame: FrameType | None) -> NoReturn:
        os._exit(ExitCode.INTERRUPTED)

    def explain_and_go(_number: int, _frame: FrameType | None) -> NoReturn:
        click.echo(f"graft: {explain()}", err=True)
        os._exit(ExitCode.INTERRUPTED)

    def begin_to_go(_number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGINT, go)
        signal.signal(signal.SIGALRM, explain_and_go)
        signal.setitimer(signal.ITIMER_REAL, GRACE_S)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, begin_to_go)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is begin_to_go:
            signal.signal(signal.SIGINT, previous)
