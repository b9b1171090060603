"""Attributes that later commits repeat, so that a reader of any of them finds the newest compaction."""

COMPACTED_INTO = "compacted-into"
"""The segment that a compaction wrote; if it also has an inline entry frame, the object."""
COMPACTED_AT = "compacted-at"
"""The LSN of the newest compaction, in that commit and all later ones."""
PARENT = "parent"
"""The log that a fork was made from, in the first commit of the fork."""
