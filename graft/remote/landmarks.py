"""Attributes that later commits repeat, so that a reader of any of them finds the newest compaction."""

COMPACTED_INTO = "compacted-into"
"""Names the segment that a compaction wrote: the object, where its entry frame is inline besides."""
COMPACTED_AT = "compacted-at"
"""Names the LSN of the newest compaction, in that commit and all that follow it."""
PARENT = "parent"
"""Attribute of the first commit of a fork: the log that it was forked from."""
