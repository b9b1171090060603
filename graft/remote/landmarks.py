"""Attributes that later commits repeat, so that a reader of any of them finds the newest compaction."""

import json

from metastore.commit import Commit

COMPACTED_INTO = "compacted-into"
"""The segment that a compaction wrote; if it also has an inline entry frame, the object."""
COMPACTED_AT = "compacted-at"
"""The LSN of the newest compaction, in that commit and all later ones."""
PARENT = "parent"
"""The log that a fork was made from, in the first commit of the fork."""
AUTHOR = "author"
"""Attribute of every commit: who made it."""
SEGMENT_BYTES = "segment-bytes"
"""Attribute of a commit whose segments are objects of their own: their size together, in decimal digits."""
RESTORED_AT = "restored-at"
"""Names the LSN of the newest commit that went back to an older version, in that commit and all that follow it."""
MERGED = "merged"
"""Attribute of a commit that holds merges: which versions each of them joined, as a JSON list of objects."""
MERGED_UP_TO = "merged-up-to"
"""Up to which LSN of which other logs this history has the changes, in a commit that merged them and all that follow
it: a JSON object."""
_DIGITS_MAX = 19


def merged_up_to(commit: Commit) -> dict[str, int]:
    """Return up to which LSN of which other logs this history has the changes."""
    try:
        found = json.loads(commit.attributes.get(MERGED_UP_TO, b"{}"))
        return {str(log): int(lsn) for log, lsn in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}  # it saves conflicts, and decides nothing


def restored_at(commit: Commit) -> int:
    """Return the LSN of the newest commit up to this one that went back to an older version, 0 if there is none."""
    value = commit.attributes.get(RESTORED_AT, b"")
    return min(int(value), commit.lsn) if value.isdigit() and len(value) <= _DIGITS_MAX else 0
