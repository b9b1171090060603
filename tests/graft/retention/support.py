"""What the tests of retention share: a store whose clock they set, volumes with a known history, cold readers."""

import itertools
import random
from contextlib import closing

from graft.retention.collect import collect
from graft.sync.clone import clone
from graft.sync.push import push
from graft.sync.time_travel import snapshot_at
from metastore.tags import TagRecord, create_tag
from tests.graft.support import commit, content, small_settings

names = itertools.count(1)


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, now_s=1_700_000_000.0):
        self.now_s = now_s

    def __call__(self):
        return self.now_s


def write(replica, clock, seed, *, pages=40, changed=6, truncate=None):
    """Push a change of some pages an hour after the one before; return the content."""
    chance = random.Random(seed)
    clock.now_s += 3600
    commit(replica, chance.sample(range(1, pages + 1), min(changed, pages)), seed, page_count=truncate)
    push(replica)
    return content(replica.snapshot())


def collected(store, name=None, **options):
    """Collect in all of a store, or by the rules for one volume."""
    address = f"{store.url}#{name}" if name else store.url
    options.setdefault("grace_s", 0)
    return collect(address, store=store, settings=small_settings(), **options)


def reads(tmp_path, store, versions, name="vol"):
    """Read versions with a new replica, which has nothing cached."""
    with reader(tmp_path, store, name) as replica:
        return {lsn: content(snapshot_at(replica, lsn)) for lsn in versions}


def reader(tmp_path, store, name="vol"):
    """A new replica, closed at the end of the block."""
    path = tmp_path / f"reader-{next(names)}"
    return closing(clone(path, f"{store.url}#{name}", store=store, settings=small_settings()))


def tag_version(store, replica, name, lsn):
    """Give a version of a replica's volume a name."""
    found = replica.remote.chain(replica.log, lsn)[0].commit
    record = TagRecord(
        volume=replica.volume, log=replica.log, lsn=lsn, commit=found.hash.hex(), created_us=1, author="ann"
    )
    create_tag(store, name, record)


def keys(store):
    """All objects of a store with their sizes."""
    return {info.key: info.size for info in store.list("")}
