from collections.abc import Callable, Sequence
from typing import Final

from graft.frametable import FrameBody
from graft.mapchunks import MapChunk

INTERFACE: Final[int]
LOCATION_LAYOUT: Final[tuple[int, int, int, int, int]]

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
    def withdraw(self) -> None: ...
    def close(self) -> None: ...
    def read(self, amount: int, offset: int, /) -> bytes | None: ...
    def lock_shared(self) -> bool: ...
    def unlock(self) -> bool: ...
    def learn(self, data: bytes, offset: int, /) -> None: ...

def set_hooks(
    *,
    open_file: Callable[[str, int, dict[str, str]], object],
    full_pathname: Callable[[str], str],
    failed: Callable[[BaseException], None],
) -> None: ...
