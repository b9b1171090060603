"""Why a frame is not in the remote: because its version was collected, or because it was lost."""

from collections.abc import Sequence

from graft.errors import GraftError, VersionCollected
from graft.pagemap.frame_table import FrameKey, FrameTable
from graft.pagemap.locations import frames_of, is_in_frame
from graft.pagemap.page_map import PageMap
from graft.remote.remote import Remote
from metastore.ids import LogId
from metastore.lsn import LSN


def collected_error(
    remote: Remote, table: FrameTable, keys: Sequence[FrameKey], *, name: str, log: LogId, lsn: LSN, newest: PageMap
) -> VersionCollected | None:
    """Return the error for readers of a version that was collected, None where that explains nothing.

    The replica builds on ``lsn``, whose map is ``newest``: a frame that it names is lost if that version remains.
    """
    try:
        remaining = remote.remaining(log)
    except GraftError:
        return None
    if remaining.is_whole or (lsn in remaining and _uses(newest, table, keys)):
        return None
    return VersionCollected(
        f"volume {name}: a page of the version that is being read is not in {remote.store.url} any more: the version "
        f"was collected. What remains is {remaining.describe()}: open one of these, or pull. `graft pin` keeps a "
        "version for a long read"
    )


def _uses(page_map: PageMap, table: FrameTable, keys: Sequence[FrameKey]) -> bool:
    numbers = {
        int(number)
        for chunk in page_map.chunks
        for number in frames_of(chunk.locations()[is_in_frame(chunk.locations())]).tolist()
    }
    wanted = set(keys)
    return any(table.key(number) in wanted for number in numbers)
