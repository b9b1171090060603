"""Thinning a cache file: the pages that are of use are copied behind the others, so that the file can go.

Callers hold a transaction of the index; what is decided is decided in `graft.cache.cleaning_plan`.
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
    """Return the file to thin, if there is one; where that is not known, look what is of use."""
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
    """Find out what of a file is of use, and forget frames of which nothing is."""
    listed, useless, count = frames.index.frames_in(file), [], 0
    for frame, mask in zip(listed, live(listed), strict=True):
        if mask.all():
            count += len(mask) * frames.page_size
        elif mask.any():
            count += taken_bytes(np.where(mask, frame.listed, 0), frames.page_size)
        else:
            useless.append(frame)
    frames.index.forget(useless)
    frames.index.set_live(file, count)


def move_out(frames: CachedFrames, file: int, live: LiveJudge, bytes_max: int) -> tuple[bool, int]:
    """Move what is of use out of a file, so many bytes at most; tell whether that was all, and how much it was."""
    listed, moved = frames.index.frames_in(file), 0
    for frame, mask in zip(listed, live(listed), strict=True):
        kept = live_only(frame.listed, mask)
        if moved + taken_bytes(kept, frames.page_size) > bytes_max:
            return False, moved
        moved += _move(frames, frame, kept)
    return True, moved


def _move(frames: CachedFrames, frame: CachedFrame, kept: Listed) -> int:
    """Copy the pages of a frame that are to be kept behind what is used, and name it there; return their bytes."""
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
