"""The store's own clock, by which all ages are judged: collectors' and writers' clocks may be wrong."""

from pagestore.errors import StoreRefused
from pagestore.objectstore import ObjectStore
from pagestore.runtime import Runtime


def store_now_s(store: ObjectStore, runtime: Runtime, *, may_guess: bool = False) -> float:
    """Return the time by the store's clock, in seconds since the Unix epoch: a small object is written and listed.

    Where that is refused, and one ``may_guess``, this computer's clock has to do.
    """
    key = f"probe/clock-{runtime.entropy(8).hex()}"
    try:
        store.put(key, b"graft asks for the time")
    except StoreRefused:
        if may_guess:
            return runtime.now_s()
        raise
    try:
        return max((found.modified_s for found in store.list(key)), default=runtime.now_s())
    finally:
        store.delete(key)
