"""Whether a store's listings can be trusted without further checks."""

from pagestore.objectstore import ObjectStore
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore


def lists_exactly(store: ObjectStore) -> bool:
    """Return whether every listing is in key order and shows all earlier writes.

    Only a store in this process's memory guarantees that. A bucket may be behind a proxy that caches listings, or on a
    server that lists in another order or lags behind; a directory may be on a network file system.
    """
    while isinstance(store, MeteredStore):
        store = store.inner
    return isinstance(store, MemoryStore)
