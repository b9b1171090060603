"""Snapshots, the loader of page bodies, readahead."""
