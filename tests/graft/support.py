"""What several tests of replicas need: small settings, second processes, and processes that die."""

import contextlib
import functools
import itertools
import os
import random
import tempfile
from pathlib import Path

from graft.errors import StaleSnapshot
from graft.failpoints import set_failpoint_hook
from graft.replica import opening
from graft.replica.replica import Replica
from graft.settings import Durability, Settings
from graft.sync.clone import init
from graft.sync.commit import commit as commit_at
from pagestore.runtime import SYSTEM, Runtime
from pagestore.stores.memory import MemoryStore

_names = itertools.count(1)
_MEMORY = "/dev/shm"


class Killed(BaseException):
    """Raised where a process is to die; nothing may catch it."""


def small_settings(**chosen):
    """Settings below what users may choose, so that spilling, rotation and eviction happen with few pages."""
    given = {
        "cache_bytes_max": 24 * 1024,
        "cache_file_bytes": 8 * 1024,
        "journal_file_bytes": 16 * 1024,
        "spill_bytes": 4 * 4096,
        "frame_bytes": 4096,
        "codec": "lz4",  # makes these bodies less small, so that some segments do not fit inside their commits
        "one_frame_bytes_max": 0,
        "inline_bytes_max": 2048,
        "lock_timeout_s": 0.0,
    }
    return Settings.model_construct(**{**Settings().model_dump(), **given, **chosen})


@contextlib.contextmanager
def fast_directory():
    """A temporary directory where syncing costs nothing, if there is such a place; for tests that commit often."""
    with tempfile.TemporaryDirectory(
        prefix="graft-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None
    ) as directory:
        yield Path(directory)


def fresh_store():
    return MemoryStore(f"test-{os.getpid()}-{next(_names)}")


def new_replica(path, store, **settings):
    """A new volume called ``vol`` and its replica."""
    page_size = settings.pop("page_size", 512)
    return init(path, f"{store.url}#vol", page_size=page_size, settings=small_settings(**settings), store=store)


def as_other_process(path, store, *, runtime=SYSTEM, **settings):
    """Open a replica a second time as another process would: with its own locks, maps and connections."""
    return Replica(path.resolve(), settings=small_settings(**settings), store=store, runtime=runtime)


def repeatable(seed):
    """A runtime that makes the same ids each time, in an order that is not wholly that of time."""
    chance, ticks = random.Random(seed), itertools.count()
    return Runtime(now_s=lambda: 1_700_000_000 + next(ticks) // 16 / 1000, entropy=chance.randbytes)


def leave(replica):
    """Close a replica wherever it came from."""
    if replica in opening._open:
        replica.close()
    else:
        replica.close_now()


def kill(replica, transaction=None):
    """End a replica as the death of its process would: locks and maps vanish, nothing is written any more."""
    opening._open.pop(replica, None)
    if transaction is not None:
        transaction._open = False
        if transaction._spill is not None:
            os.close(transaction._spill.descriptor)
    replica.bodies._behind._late = {}  # what is only in memory goes with it
    replica.bodies.close()
    replica.state._database.close()
    replica.cache.close()
    replica.remote.parallel.close()
    replica.journal.close()
    replica.shared.close()
    replica.home.close()
    for lock in (replica.writer_lock, replica.sync_lock, replica.access._presence):
        lock.close()


@contextlib.contextmanager
def failpoint_hook(hook):
    set_failpoint_hook(hook)
    try:
        yield
    finally:
        set_failpoint_hook(None)


def dying_at(point, *, times=1):
    """Hook that dies at ``point``, the ``times``-th time that it is passed."""
    passed = itertools.count(1)

    def hook(name):
        if name == point and next(passed) == times:
            raise Killed(point)

    return failpoint_hook(hook)


def body(page_size, page, tag):
    """Bytes that no other page and no other tag has."""
    return (f"{page}/{tag};".encode() * page_size)[:page_size]


def noisy_body(page_size, page, tag):
    """The same, but that no compressor makes less of it, and that a tag changes only its beginning."""
    name = f"{page}/{tag};".encode().ljust(24, b".")
    return name + _noise(page_size - len(name), page)


@functools.cache
def _noise(length, seed):
    return random.Random(seed).randbytes(length)


def begin(replica):
    """Begin on the newest snapshot; what a dead writer left may make the first one stale."""
    with contextlib.suppress(StaleSnapshot):
        return replica.begin(replica.snapshot())
    return replica.begin(replica.snapshot())


def commit(replica, pages, tag, *, durability=None, page_count=None):
    """Commit bodies for some pages; return the snapshot."""
    with begin(replica) as transaction:
        if page_count is not None:
            transaction.truncate(page_count)
        for page in pages:
            transaction.write(page, body(replica.page_size, page, tag))
        return commit_at(replica, transaction, durability or Durability.LOCAL)


def content(snapshot):
    """All bytes of a snapshot."""
    return b"".join(snapshot.read(page) for page in range(1, snapshot.page_count + 1))[: snapshot.byte_size]


def disk_bytes(files):
    """What some files take; one that housekeeping or another process removes meanwhile takes nothing."""
    found = 0
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            found += file.stat().st_blocks * 512
    return found


def commit_keys(store):
    return [info.key for info in store.list("logs/")]


def segment_keys(store):
    return [info.key for info in store.list("segments/")]
