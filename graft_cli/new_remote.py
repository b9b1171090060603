"""Telling that a directory was made as a remote: a forgotten s3:// makes one, too."""

from collections.abc import Iterator
from contextlib import contextmanager

from graft.errors import GraftError
from graft.remote.address import parse_remote
from graft_cli.root import complain
from pagestore.urls import local_directory


@contextmanager
def saying_what_is_made(remote: str | None, *, quiet: bool) -> Iterator[None]:
    """Run a block; if it made the directory of a remote, say on stderr that it did."""
    directory = None
    if remote is not None and not quiet:
        try:
            directory = local_directory(parse_remote(remote).store_url)
        except GraftError:
            directory = None  # the block says so
    if directory is None or directory.exists():
        yield
        return
    try:
        yield
    finally:
        if directory.exists():
            complain(f"made the directory {directory}, a new remote (a bucket is named s3://bucket/prefix#volume)")
