"""Volumes on which small pushes carry pages of others soon."""

from graft.building import consolidation
from graft.sync.clone import clone
from graft.sync.push import push
from metastore import index as index_module
from tests.graft.support import commit, new_replica, small_settings

BULK = {"cache_bytes_max": 1 << 30, "cache_file_bytes": 1 << 20, "inline_bytes_max": 32 * 1024, "codec": "raw"}


def consolidate_early(monkeypatch):
    """Spans of 4, 16 and 64 commits, and heads so short that what 64 of them hold does not come along."""
    monkeypatch.setattr(consolidation, "RADIX", 4)
    monkeypatch.setattr(index_module, "HEAD_READ_BYTES", 16 * 1024)


def consolidating_volume(path, store, pages, **settings):
    """A volume of many pages in a segment of its own."""
    replica = new_replica(path, store, **BULK | settings)
    commit(replica, range(1, pages + 1), "first")
    push(replica)
    return replica


def reader_of(replica, path, **settings):
    return clone(path, replica.remote_address, settings=small_settings(**BULK | settings), store=replica.remote.store)
