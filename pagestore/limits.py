"""Limits of the process and of the machine: which one an error means, and what to do about it. Pure but for `asked`."""

import errno
import os
import re
import resource
from collections.abc import Iterator

_NO_DESCRIPTOR = re.compile(r"Too many open files|os error 24\b")
"""What clients say that do not keep the system's error."""
_NO_THREAD = re.compile(r"can't start new thread")


def limit_reached(error: BaseException | None) -> str | None:
    """Return which limit made something fail and how to go on, as the end of a sentence; None if it was none."""
    for each in _chain(error):
        code = each.errno if isinstance(each, OSError) else None
        if code == errno.EMFILE or (code is None and _NO_DESCRIPTOR.search(str(each))):
            return descriptors()
        if code == errno.ENFILE:
            return "the machine has as many files open as it may (fs.file-max); close some, or raise that limit"
        if code == errno.ENOMEM or isinstance(each, MemoryError):
            return memory()
        if code == errno.ENOLCK:
            return "the system has no room for another file lock; close files, or raise that limit"
        if isinstance(each, RuntimeError) and _NO_THREAD.search(str(each)):
            return f"no thread could be started ({_bound('RLIMIT_NPROC')}); end some, or raise the limit (ulimit -u)"
    return None


def descriptors() -> str:
    """Say that there are no descriptors left."""
    return (
        f"this process has as many files open as it may ({_bound('RLIMIT_NOFILE')}); close replicas, connections or "
        "files, or raise the limit (ulimit -n)"
    )


def memory() -> str:
    """Say that there is no memory left, or no room for another mapped file, which the system does not tell apart."""
    return (
        f"there is no memory left for this process, or it has mapped as many files as it may ({_bound('RLIMIT_AS')}, "
        "vm.max_map_count); close replicas, or raise the limit (ulimit -v, sysctl vm.max_map_count)"
    )


def asked(files: int) -> str | None:
    """Return the limit that keeps this process from opening so many files at the moment, None if it can.

    For libraries that say no more than that they could not open something, and have closed what they had by then.
    """
    opened: list[int] = []
    try:
        while len(opened) < files:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return limit_reached(error)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _bound(name: str) -> str:
    soft, _hard = resource.getrlimit(getattr(resource, name))
    return f"{name} is {'unlimited' if soft == resource.RLIM_INFINITY else soft}"
