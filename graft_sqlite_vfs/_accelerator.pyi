from collections.abc import Callable, Sequence
from typing import Final

from graft.pagemap.chunks import MapChunk
from graft.pagemap.frame_table import FrameBody

INTERFACE: Final[int]
LOCATION_LAYOUT: Final[tuple[int, int, int, int, int]]
RECORD_LAYOUT: Final[tuple[bytes, bytes, int, int, int]]
COUNTER_LAYOUT: Final[tuple[int, int, int, int]]

class FrameSlots:
    def __init__(self, page_size: int) -> None: ...
    def attached(self, number: int, body: FrameBody, /) -> None: ...
    def detached(self, numbers: Sequence[int], /) -> None: ...

class NativeSnapshot:
    def __init__(
        self,
        slots: FrameSlots,
        page_count: int,
        chunks: Sequence[MapChunk],
        views: dict[int, memoryview],
        previous: NativeSnapshot | None = None,
    ) -> None: ...

class Reader:
    snapshot: Final[NativeSnapshot | None]
    hits: Final[int]
    misses: Final[int]

    def __init__(self, counters: memoryview | None) -> None: ...
    def publish(
        self,
        snapshot: NativeSnapshot | None,
        file_bytes: int,
        generation: int | None,
        local_lsn: int,
        probe: bytes | None,
        /,
    ) -> None: ...
    def provide(self, snapshot: NativeSnapshot, /) -> None: ...
    def withdraw(self) -> None: ...
    def close(self) -> None: ...
    def read(self, amount: int, offset: int, /) -> bytes | None: ...
    def lock_shared(self) -> bool: ...
    def unlock(self) -> bool: ...
    def learn(self, data: bytes, offset: int, /) -> None: ...

class Appender:
    def __init__(
        self,
        reader: Reader,
        page_size: int,
        lock: bytes,
        lock_descriptor: int,
        counters: bytes,
        counters_id: tuple[int, int],
        sync: bool,
        state: bytes = ...,
        state_id: tuple[int, int] = ...,
    ) -> None: ...
    def aim(
        self, journal: memoryview, path: bytes, descriptor: int, end: int, limit: int, tail_synced: bool, /
    ) -> None: ...
    def lend(self, counter_stored: int, counter_shown: int, /) -> None: ...
    def told(self) -> tuple[int, int, int, int, bool] | None: ...
    def forget(self) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...

def watch_appends(
    *,
    failpoint: Callable[[str], None] | None = None,
    pwritev: Callable[[int, list[bytes], int], int] | None = None,
    fdatasync: Callable[[int], None] | None = None,
) -> None: ...
def set_hooks(
    *,
    open_file: Callable[[str, int, dict[str, str]], object],
    full_pathname: Callable[[str], str],
    failed: Callable[[BaseException], None],
    checksum: Callable[[memoryview], int],
) -> None: ...
