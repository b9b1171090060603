"""The remote of a replica in a directory, with the segment dictionaries that the directory caches."""

from pathlib import Path

from graft.cache.dictionaries import DictionaryShelf
from graft.remote.remote import Remote, open_remote
from graft.settings import Settings
from pagestore.objectstore import ObjectStore
from pagestore.runtime import SYSTEM, Runtime


def remote_for(
    path: Path,
    store_url: str,
    *,
    store: ObjectStore | None = None,
    settings: Settings | None = None,
    runtime: Runtime = SYSTEM,
    must_exist: bool = False,
) -> Remote:
    """Return the remote of a replica in this directory, without a request yet."""
    remote = open_remote(store_url, store=store, settings=settings, runtime=runtime, must_exist=must_exist)
    remote.dictionaries = DictionaryShelf(path / "cache" / "dictionaries")
    return remote
