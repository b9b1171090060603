"""A throttle, so that a collection leaves the store time for others."""

from pagestore.runtime import Runtime


class Throttle:
    """Lets so many objects a second pass; used by one thread."""

    def __init__(self, per_s: float, runtime: Runtime) -> None:
        """Begin with nothing used up."""
        self._per_s = per_s
        self._runtime = runtime
        self._free_s = runtime.monotonic_s()

    def take(self, count: int) -> None:
        """Wait until the objects that were taken before have had their time, and take ``count`` more."""
        now_s = self._runtime.monotonic_s()
        if self._free_s > now_s:
            self._runtime.sleep_s(self._free_s - now_s)
        self._free_s = max(self._free_s, now_s) + count / self._per_s
