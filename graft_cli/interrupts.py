"""Ctrl-C: say in what state things are, and go soon.

first Ctrl-C    KeyboardInterrupt; what is under way is wound up, which may wait for answers of the remote
2 s later       whatever still waits is left alone: a process may be killed at any point without losing anything
second Ctrl-C   the same at once
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
    """Ctrl-C, with a sentence about what it left behind."""


@contextmanager
def interruptible(explain: Callable[[], str]) -> Iterator[None]:
    """Run a block; after Ctrl-C, ``explain`` tells what became of its work."""
    with _soon(explain):
        try:
            yield
        except KeyboardInterrupt:
            raise Interrupted(explain()) from None


@contextmanager
def _soon(explain: Callable[[], str]) -> Iterator[None]:
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is not signal.default_int_handler:
        yield  # somebody else decides, as nohup does
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
