"""Builds the commits that a push or a compaction appends: segments, deltas, consolidation."""
