"""The error for a volume that is not in its remote: whether the remote exists, and which volumes it has."""

import os
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from graft.errors import NoSuchVolume
from metastore.errors import MetaStoreError
from metastore.volumes import list_volumes
from pagestore.errors import PageStoreError
from pagestore.objectstore import ObjectStore
from pagestore.urls import local_directory

_SHOWN = 8
_ENTRIES_MAX = 1000


def no_such_volume(store: ObjectStore, name: str) -> NoSuchVolume:
    """Return an error that suggests volumes with similar names; one listing."""
    said = f"no volume named {name} in {store.url}"
    directory = local_directory(store.url)
    if directory is not None and not directory.is_dir():
        return NoSuchVolume(f"{said}: {no_directory(directory)}")
    names: list[str] = []
    with suppress(MetaStoreError, PageStoreError):
        names = list_volumes(store, limit=_ENTRIES_MAX)
    if not names:
        return NoSuchVolume(f"{said}, which has no volumes")
    if close := get_close_matches(name, names):
        error = NoSuchVolume(f"{said}; did you mean {' or '.join(close)}?")
        error.near = tuple(close)
        return error
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return NoSuchVolume(f"{said}; there are {shown}")


def no_directory(directory: Path) -> str:
    """Return a message that a remote's directory does not exist, with similar names beside it."""
    near = get_close_matches(directory.name, [path.name for path in _remotes_in(directory.parent)])
    hint = f"; did you mean {' or '.join(str(directory.with_name(name)) for name in near)}?" if near else ""
    return f"there is no directory {directory}{hint}"


def _remotes_in(directory: Path) -> Iterator[Path]:
    """Yield the directories in a directory that hold volumes."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in islice(entries, _ENTRIES_MAX):
            if entry.is_dir() and Path(entry.path, "volumes").is_dir():
                yield Path(entry.path)
