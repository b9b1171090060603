"""Cache cleaning: copies the live pages out of a file, so that the file can be deleted.

Callers hold a transaction of the index. `graft.cache.cleaning_plan` decides; this module carries out.
"""

import numpy as np

from graft.cache.cleaning_plan import (
    BLOCK,
    CachedFrame,
    FileUse,
    Listed,
    LiveJudge,
    live_only,
    place,
    runs,
    survey_is_due,
    taken_bytes,
    too_much,
    victim,
)
from graft.cache.frames import CachedFrames


def file_to_clean(frames: CachedFrames, live: LiveJudge, live_bytes: int, slack: int) -> FileUse | None:
    """Return the file to clean next, None for none; survey the frames first if it is time to."""
    index, size = frames.index, frames.page_size
    files = index.files()
    found, excess = victim(files, size, slack), too_much(files, live_bytes)
    if found or not survey_is_due(excess, index.futile, live_bytes, slack):
        return found
    for use in files:
        _survey(frames, use.file, live)
    found = victim(index.files(), size, slack)
    index.surveyed(0 if found else excess)
    return found


def _survey(frames: CachedFrames, file: int, live: LiveJudge) -> None:
    """Measure the live bytes of a file, and forget its dead frames."""
    listed, dead, count = frames.index.frames_in(file), [], 0
    for frame, mask in zip(listed, live(listed), strict=True):
        if mask.all():
            count += len(mask) * frames.page_size
        elif mask.any():
            count += taken_bytes(np.where(mask, frame.listed, 0), frames.page_size)
        else:
            dead.append(frame)
    frames.index.forget(dead)
    frames.index.set_live(file, count)


def move_out(frames: CachedFrames, file: int, live: LiveJudge, bytes_max: int) -> tuple[bool, int]:
    """Move live pages out of a file, at most ``bytes_max``; return whether none is left, and how many bytes moved."""
    listed, moved = frames.index.frames_in(file), 0
    for frame, mask in zip(listed, live(listed), strict=True):
        kept = live_only(frame.listed, mask)
        if moved + taken_bytes(kept, frames.page_size) > bytes_max:
            return False, moved
        moved += _move(frames, frame, kept)
    return True, moved


def _move(frames: CachedFrames, frame: CachedFrame, kept: Listed) -> int:
    """Copy the ``kept`` pages of a frame to another file and point the index there; return their bytes."""
    old = frames.verified(frame) if len(kept) else None
    if old is None:
        frames.index.forget([frame])
        return 0
    size = frames.page_size
    file, used = frames.tail(len(kept) * size + BLOCK, but=frame.file)
    position = place(kept, size, used)
    parts = [(position + start * size, old.data[start * size : end * size]) for start, end in runs(kept)]
    whole = frame.whole and len(kept) == len(old.pages) and bool(kept.all())
    end, taken = position + len(kept) * size, taken_bytes(kept, size)
    new = CachedFrame(frame.segment, frame.offset, file, position, kept.tobytes(), whole, b"", end)
    frames.write(new, parts, taken)
    frames.index.moved_out(frame.file, taken)
    return taken
