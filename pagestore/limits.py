"""Limits of the process and the machine: which limit caused an error, and what to do about it.

Everything but `limit_on_opening` is pure.
"""

import errno
import mmap
import os
import re
import resource
from collections.abc import Iterator

_NO_DESCRIPTOR = re.compile(r"Too many open files|os error 24\b")
"""Text of clients' errors that do not carry the system's error number."""
_MAPS_OF_THREAD, _MAP_BYTES = 8, 64 * 1024
"""What a thread takes until it runs, with some to spare: its stack, a heap of its own, the first frames."""
_NO_THREAD = re.compile(r"can't start new thread")


def limit_reached(error: BaseException | None) -> str | None:
    """Return which limit caused ``error`` and how to go on, as the end of a sentence; None if no limit did."""
    for each in _chain(error):
        code = each.errno if isinstance(each, OSError) else None
        if code == errno.EMFILE or (code is None and _NO_DESCRIPTOR.search(str(each))):
            return descriptors()
        if code == errno.ENFILE:
            return "the machine has reached its limit of open files (fs.file-max); close some, or raise that limit"
        if code == errno.ENOMEM or isinstance(each, MemoryError):
            return memory()
        if code == errno.ENOLCK:
            return "the system has reached its limit of file locks; close files, or raise that limit"
        if isinstance(each, RuntimeError) and _NO_THREAD.search(str(each)):
            return f"no thread can be started ({_bound('RLIMIT_NPROC')}); end some, or raise the limit (ulimit -u)"
    return None


def descriptors() -> str:
    """Return the words for a process without free descriptors."""
    return (
        f"this process has reached its limit of open files ({_bound('RLIMIT_NOFILE')}); close replicas, connections or "
        "files, or raise the limit (ulimit -n)"
    )


def memory() -> str:
    """Return the words for a process without memory or room for another mapped file: the system reports both alike."""
    return (
        f"this process has no memory left, or has reached its limit of mapped files ({_bound('RLIMIT_AS')}, "
        "vm.max_map_count); close replicas, or raise the limit (ulimit -v, sysctl vm.max_map_count)"
    )


def limit_on_opening(files: int) -> str | None:
    """Return the limit that stops this process from opening ``files`` more files now, or None if it can open them.

    For errors of libraries that report only that they could not open something, and have closed their files by then.
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


def require_room_for_thread() -> None:
    """Raise `RuntimeError`, as where no thread can be started, if a new one might lack memory before it runs.

    It would die at once then, and `threading.Thread.start` would wait for it for ever.
    """
    held: list[mmap.mmap] = []
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    try:
        held.extend(
            mmap.mmap(-1, _MAP_BYTES, flags=private, prot=mmap.PROT_READ | (number % 2 * mmap.PROT_WRITE))
            for number in range(_MAPS_OF_THREAD)  # neighbours of the same protection would be one mapping
        )
    except (OSError, MemoryError):
        raise RuntimeError("can't start new thread") from None
    finally:
        for each in held:
            each.close()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _bound(name: str) -> str:
    soft, _hard = resource.getrlimit(getattr(resource, name))
    return f"{name} is {'unlimited' if soft == resource.RLIM_INFINITY else soft}"
