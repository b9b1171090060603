"""Whether a store's listings can be believed as they are."""

from pagestore.objectstore import ObjectStore
from pagestore.stores.memory import MemoryStore
from pagestore.stores.metered import MeteredStore


def lists_exactly(store: ObjectStore) -> bool:
    """Whether every listing is in order and shows all writes that came before it, whatever lies in between.

    Only memory of this process is sure to. A bucket may be reached through a proxy that caches listings, or be kept by
    a server that lists in another order or lags behind; a directory may be on a network file system.
    """
    while isinstance(store, MeteredStore):
        store = store.inner
    return isinstance(store, MemoryStore)
