"""Reports that a command created a directory as a remote, which also happens when s3:// was forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager

from graft.errors import GraftError
from graft.remote.address import parse_remote
from graft_cli.root import complain
from pagestore.urls import local_directory


@contextmanager
def reporting_new_remote(remote: str | None, *, quiet: bool) -> Iterator[None]:
    """Run a block; if it created the directory of a remote, say so on stderr."""
    directory = None
    if remote is not None and not quiet:
        try:
            directory = local_directory(parse_remote(remote).store_url)
        except GraftError:
            directory = None  # the block raises it
    if directory is None or directory.exists():
        yield
        return
    try:
        yield
    finally:
        if directory.exists():
            complain(f"created the directory {directory} as a new remote (for a bucket, use s3://bucket/prefix#volume)")
