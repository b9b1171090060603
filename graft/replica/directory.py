"""Whether a path is the directory of a replica, and the error if it is not."""

import os
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from graft.errors import BadRequest, NotAReplica, local_errors
from pagestore.mistyped import looks_like_url

STATE_FILE = "state.db"

_PATH_BYTES_MAX = 511 - len("/cache/index.db-journal")
"""SQLite takes paths of 511 bytes on Unix."""
_ENTRIES_MAX = 1000
_SHOWN = 5


def is_replica(path: Path | str) -> bool:
    """Return whether a directory holds a replica; raises `BadRequest` for unusable paths, and `LocalStorageError`."""
    _check_usable(Path(path))
    with local_errors(f"opening {path}"):
        return (Path(path) / STATE_FILE).is_file()


def _check_usable(path: Path) -> None:
    """Refuse a path that SQLite cannot open: a replica contains SQLite databases."""
    text = str(path)
    if "\0" in text:
        raise BadRequest(f"the path {text!r} holds a NUL character, which no path can")
    try:
        absolute = str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise BadRequest(
            f"the path {text!r} is not valid UTF-8, which SQLite needs: rename the directory, or use another"
        ) from None
    if len(absolute) > _PATH_BYTES_MAX:
        raise BadRequest(
            f"the path {text} has {len(absolute)} bytes; a replica's may have {_PATH_BYTES_MAX} at most, since SQLite "
            "keeps databases below it: use a shorter one"
        )


def replica_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of a replica's directory; raises `BadRequest` for an empty path and for the address of a remote.

    Only strings are checked for addresses; a `Path` is taken as it is.
    """
    if not os.fspath(path):
        raise BadRequest("the path of a replica is empty; '.' is the working directory")
    if isinstance(path, str) and looks_like_url(path):
        shown = "an address" if "@" in path else repr(path.partition("?")[0])  # it may hold credentials
        raise BadRequest(
            f"{shown} is given as the path of a replica, and looks like the address of a remote; "
            "a replica is a local directory, made by graft init and graft clone"
        )
    return Path(path)


def not_a_replica(
    path: Path,
    hint: str = "make one with `graft init` or `graft clone`",
    *,
    what: str = "is not a replica",
) -> NotAReplica:
    """Return an error that says what is at a path instead of a replica, and names replicas near it, or gives a hint."""
    if path.is_file():
        return NotAReplica(
            f"{path} {what}, but a file; graft import {path.name} DIR REMOTE makes a volume of a database"
        )
    if (path / "volumes").is_dir():
        return NotAReplica(
            f"{path} {what}, but a directory of volumes, a remote: graft volumes {path} lists them, "
            "graft clone makes a replica of one"
        )
    if not path.exists():
        what += ": there is no such directory"
    if "#" in path.name:
        return NotAReplica(f"{path} {what}; to make one of a volume in a remote: graft clone '{path}' DIR")
    if names := _near(path):
        hint = f"did you mean {' or '.join(str(name) for name in names)}? If not, {hint}"
    return NotAReplica(f"{path} {what}; {hint}")


def _near(path: Path) -> list[Path]:
    """Return replicas in the directory, or else those beside it with similar names."""
    inside = list(islice(_replicas(path), _SHOWN))
    if inside:
        return inside
    beside = {found.name: found for found in _replicas(path.parent)}
    stems = {Path(name).stem: name for name in beside}
    close = [*get_close_matches(path.name, beside), *(stems[stem] for stem in get_close_matches(path.stem, stems))]
    return [beside[name] for name in dict.fromkeys(close)]


def _replicas(directory: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in islice(entries, _ENTRIES_MAX):
            if entry.is_dir() and is_replica(entry.path):
                yield Path(entry.path)
