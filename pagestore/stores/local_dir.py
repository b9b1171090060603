"""Objects as files below a directory: for one machine, shared file systems and tests.

    {root}/logs/x/commits/fff…   the object "logs/x/commits/fff…", a plain file that can be copied
    {root}/.~tmp/…               bodies being written; no key contains "~", so no object has such a path

Invariants: a file outside ``.~tmp`` is complete and fsynced before it gets its name; its directory is fsynced before
the call returns. Safe for several threads and processes at once, on a file system that supports hard links.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pagestore.errors import ObjectNotFound, PageStoreError, StoreUnavailable
from pagestore.keys import check_key, check_key_prefix, check_limit, check_range, is_key_part
from pagestore.objectstore import Data, ObjectInfo, UnfinishedUpload
from pagestore.runtime import SYSTEM, Runtime
from pagestore.stores.local_dir_files import (
    TEMP_DIR,
    draft_files,
    file_errors,
    fsync_dir,
    make_dirs,
    read_at_most,
    remove_stale_files,
    walk_in_key_order,
    write_file,
)

STALE_TEMP_S = 24 * 3600
"""Unfinished bodies of killed processes are removed after this many seconds."""


class LocalDirStore:
    """The `ObjectStore` of a directory; the first write creates the directory, unless ``must_exist``.

    Once this object has seen the directory, it never creates it again: if the directory disappears, its drive may not
    be mounted, and every call raises `StoreUnavailable`. A key cannot be the folder of another key (``a`` and ``a/b``):
    writing the second one raises `StoreRefused`.
    """

    def __init__(self, path: str | os.PathLike[str], *, runtime: Runtime = SYSTEM, must_exist: bool = False) -> None:
        """Open ``path``, without touching the file system yet."""
        self._must_exist = must_exist
        self._root = Path(path).absolute()
        self._temp_dir = self._root / TEMP_DIR
        self._runtime = runtime
        self._stale_removed = False

    @property
    def url(self) -> str:
        """``file:///absolute/path``."""
        return self._root.as_uri()

    @property
    def parallelism(self) -> int:
        """A few: disks serve several requests at once."""
        return 4

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        path = self._path(key)
        with self._reading(), file_errors(self.url, missing_key=key):
            return path.read_bytes()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return a slice of the object."""
        check_range(start, length)
        path = self._path(key)
        with self._reading(), file_errors(self.url, missing_key=key), path.open("rb", buffering=0) as file:
            return read_at_most(file.fileno(), start, length)

    def put(self, key: str, data: Data) -> None:
        """Create or replace the object."""
        self._write(key, (data,))

    def put_if_absent(self, key: str, data: Data) -> bool:
        """Create the object unless the key exists: a hard link cannot replace a file."""
        path = self._path(key)
        self._require_root()
        if path.is_file():
            with file_errors(self.url):
                fsync_dir(path.parent)  # its writer may not have done so yet
            return False
        temp = self._new_temp_path()
        try:
            write_file(temp, (data,), self.url)
            with file_errors(self.url):
                make_dirs(path.parent)
                created = _link(temp, path)
                fsync_dir(path.parent)
            return created
        finally:
            _remove(temp)

    def put_stream(self, key: str, chunks: Iterable[bytes]) -> int:
        """Write the chunks to a hidden file, then rename it."""
        return self._write(key, chunks)

    def list(self, prefix: str, *, start_after: str = "", limit: int | None = None) -> Iterator[ObjectInfo]:
        """Yield matching objects; reads only directories that can contain one, each once."""
        check_key_prefix(prefix)
        check_limit(limit)
        return self._iterate(prefix, start_after, limit)

    def delete(self, key: str) -> None:
        """Remove the object if it exists; its directories stay."""
        self.delete_many((key,))

    def delete_many(self, keys: Sequence[str]) -> None:
        """Remove the objects that exist, and sync each of their directories once."""
        paths = [self._path(key) for key in keys]
        changed: set[Path] = set()
        refusal: PageStoreError | None = None
        for path in paths:
            try:
                with file_errors(self.url), suppress(FileNotFoundError, NotADirectoryError):
                    if not path.is_dir():
                        path.unlink()
                        changed.add(path.parent)
            except PageStoreError as error:
                refusal = refusal or error
        with file_errors(self.url):
            for directory in changed:
                fsync_dir(directory)
        if refusal is not None:
            raise refusal

    def unfinished_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Yield the drafts, including those of other processes; their objects' keys are unknown."""
        check_key_prefix(prefix)
        with file_errors(self.url):
            for name, modified_s in draft_files(self._temp_dir):
                yield UnfinishedUpload(f"{TEMP_DIR}/{name}", name, modified_s)

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Remove the draft."""
        if not is_key_part(upload.upload_id):
            raise ValueError(f"not a draft: {upload.upload_id!r}")
        with file_errors(self.url), suppress(FileNotFoundError):
            (self._temp_dir / upload.upload_id).unlink()

    def close(self) -> None:
        """Do nothing: no file stays open between calls."""

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except ObjectNotFound:
            self._require_root()
            raise
        self._must_exist = True

    def _require_root(self) -> None:
        """Raise `StoreUnavailable` if the directory must exist, or did once, and is missing."""
        must_exist = self._must_exist  # read before the check: another thread may be creating the directory
        if self._root.is_dir():
            self._must_exist = True
        elif must_exist:
            raise StoreUnavailable(f"{self.url} does not exist: is its drive mounted, was it moved or deleted?")

    def _write(self, key: str, chunks: Iterable[Data]) -> int:
        path = self._path(key)
        self._require_root()
        temp = self._new_temp_path()
        try:
            size = write_file(temp, chunks, self.url)
            with file_errors(self.url):
                make_dirs(path.parent)
                temp.replace(path)
                fsync_dir(path.parent)
        except BaseException:
            _remove(temp)
            raise
        return size

    def _new_temp_path(self) -> Path:
        with file_errors(self.url):
            make_dirs(self._temp_dir)
            if not self._stale_removed:
                remove_stale_files(self._temp_dir, before_s=self._runtime.now_s() - STALE_TEMP_S)
                self._stale_removed = True
        return self._temp_dir / self._runtime.entropy(16).hex()

    def _iterate(self, prefix: str, start_after: str, limit: int | None) -> Iterator[ObjectInfo]:
        if limit == 0:
            return
        self._require_root()
        yielded = 0
        for key, entry in walk_in_key_order(self._root, prefix, start_after, self.url):
            try:
                found = entry.stat()
            except FileNotFoundError:  # deleted since its directory was read
                continue
            etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
            yield ObjectInfo(key, found.st_size, found.st_mtime, etag)
            yielded += 1
            if yielded == limit:
                return


def _link(temp: Path, path: Path) -> bool:
    try:
        os.link(temp, path)
    except FileExistsError:
        if path.is_dir():
            raise
        return False
    return True


def _remove(temp: Path) -> None:
    with suppress(OSError):  # it is hidden, and removed later as stale
        temp.unlink()
