"""Power cuts: what a run does to a directory is recorded, and from it come the states that a cut may leave.

Recorded are creations, writes, truncations, renames, unlinks and syncs, in order, as the operating system is asked for
them. A cut keeps what was synced: the content of a file by a sync of the file, its name by a sync of its directory. Of
everything else any part may be there: whole writes or single sectors of them, in any order, and names likewise.

SQLite writes past this seam. The state is synced at each of its transactions that are to be durable, so that it is
what the last one of these left, or any one after it; the index of the cache is never synced, so that any sector of it
may be of any age, or missing.

Whoever records leaves nothing to the clock: housekeeping is off, and what a push does beside its request comes before
or after it. So one may make the same run again, and see what the same cut leaves.
"""

import contextlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from unittest import mock

from graft.cache.cache import Cache
from graft.replica.state import State
from pagestore.parallel import Parallel
from pagestore.stores.memory import MemoryStore

SECTOR, BLOCK = 512, 4096
_names = itertools.count()


@dataclass(frozen=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Resize:
    file: int
    size: int


@dataclass(frozen=True)
class Sync:
    file: int


@dataclass(frozen=True)
class Name:
    """A name in a directory begins to stand for a file, for a directory (-1) or for nothing (0)."""

    path: str
    file: int
    instead_of: str | None = None
    """The name that it had, which goes in the same step."""


@dataclass(frozen=True)
class SyncNames:
    directory: str


@dataclass(frozen=True)
class StateIs:
    """What SQLite has written, and synced if it is durable."""

    main: bytes
    wal: bytes
    durable: bool


@dataclass(frozen=True)
class IndexIs:
    """What SQLite has written and not synced."""

    main: bytes
    wal: bytes


@dataclass(frozen=True)
class RemoteIs:
    objects: dict


@dataclass
class Recorder:
    """Records what happens below ``root`` and in a `MemoryStore` during the block."""

    root: Path
    store: MemoryStore
    chance: Random
    events: list = field(default_factory=list)

    def __enter__(self):
        self._files = itertools.count(1)
        self._by_inode, self._by_path = {}, {}
        self._patches = contextlib.ExitStack()
        for name in (
            "open",
            "pwritev",
            "pwrite",
            "ftruncate",
            "fsync",
            "fdatasync",
            "rename",
            "link",
            "unlink",
            "mkdir",
        ):
            self._patch(os, name, getattr(self, f"_{name}"))
        for name in ("put", "put_if_absent", "put_stream", "delete"):
            self._patch(type(self.store), name, self._remote)
        self._patch(State, "_transaction", self._state)
        for name in ("put", "evict", "clean"):
            self._patch(Cache, name, self._index)
        self._patch(Parallel, "beside", self._beside)
        return self

    def __exit__(self, *_):
        self._patches.close()

    def _patch(self, owner, name, replacement):
        real = getattr(owner, name)
        self._patches.enter_context(
            mock.patch.object(owner, name, lambda *args, **kwargs: replacement(real, *args, **kwargs))
        )

    def _within(self, path):
        return Path(path).is_relative_to(self.root) if isinstance(path, str | os.PathLike) else False

    def _known(self, descriptor):
        return self._by_inode.get(os.fstat(descriptor).st_ino)

    def _open(self, real, path, flags, *args, **kwargs):
        inside = self._within(path)
        created = inside and flags & os.O_CREAT and not os.path.lexists(path)
        descriptor = real(path, flags, *args, **kwargs)
        if created:
            number = next(self._files)
            self._by_inode[os.fstat(descriptor).st_ino] = self._by_path[str(path)] = number
            self.events.append(Name(str(path), number))
        elif inside and flags & os.O_TRUNC:
            self.events.append(Resize(self._known(descriptor), 0))
        return descriptor

    def _pwritev(self, real, descriptor, parts, offset):
        return self._pwrite(lambda *_: real(descriptor, parts, offset), descriptor, b"".join(parts), offset)

    def _pwrite(self, real, descriptor, data, offset):
        written = real(descriptor, data, offset)
        if number := self._known(descriptor):
            self.events.append(Write(number, offset, bytes(data[:written])))
        return written

    def _ftruncate(self, real, descriptor, size):
        real(descriptor, size)
        if number := self._known(descriptor):
            self.events.append(Resize(number, size))

    def _fsync(self, real, descriptor):
        real(descriptor)
        if number := self._known(descriptor):
            self.events.append(Sync(number))
        elif Path(path := Path(f"/proc/self/fd/{descriptor}").readlink()).is_dir():
            self.events.append(SyncNames(str(path)))

    _fdatasync = _fsync

    def _rename(self, real, old, new):
        real(old, new)
        if not self._within(new):
            return
        number = self._by_path.pop(str(old), None)
        if number is None:  # SQLite made it, and has synced it
            number = next(self._files)
            data = Path(new).read_bytes()
            self.events += [Write(number, 0, data), Sync(number)]
        self._by_path[str(new)] = number
        self.events.append(Name(str(new), number, str(old)))

    def _link(self, real, old, new):
        real(old, new)
        if self._within(new):
            self._by_path[str(new)] = self._by_path[str(old)]
            self.events.append(Name(str(new), self._by_path[str(new)]))

    def _unlink(self, real, path, **kwargs):
        real(path, **kwargs)
        if self._within(path) and self._by_path.pop(str(path), None):
            self.events.append(Name(str(path), 0))

    def _mkdir(self, real, path, *args, **kwargs):
        real(path, *args, **kwargs)
        if self._within(path):
            self.events.append(Name(str(path), -1))

    def _remote(self, real, *args, **kwargs):
        result = real(*args, **kwargs)
        self.events.append(RemoteIs(dict(self.store._collection.objects)))
        return result

    @contextlib.contextmanager
    def _state(self, real, state, *, durable=True):
        before = _database(state._path)
        with real(state, durable=durable) as database:
            yield database
        if self._within(state._path):
            after = _database(state._path)
            self.events.append(StateIs(*after, durable and after != before))  # what writes nothing syncs nothing

    @contextlib.contextmanager
    def _beside(self, _, parallel, work):
        first = self.chance.random() < 0.5
        if first:
            work()
        yield
        if not first:
            work()

    def _index(self, real, cache, *args, **kwargs):
        try:
            return real(cache, *args, **kwargs)
        finally:
            if self._within(cache._directory):
                self.events.append(IndexIs(*_database(cache._directory / "index.db")))


def _database(path):
    wal = path.with_name(path.name + "-wal")
    return path.read_bytes() if path.exists() else b"", wal.read_bytes() if wal.exists() else b""


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list = field(default_factory=list)

    def take(self, event):
        if isinstance(event, Write):
            self.synced.extend(bytes(max(0, event.offset - len(self.synced))))
            self.synced[event.offset : event.offset + len(event.data)] = event.data
        elif event.size < len(self.synced):
            del self.synced[event.size :]
        else:
            self.synced.extend(bytes(event.size - len(self.synced)))


def state_after(events, root, target, chance):
    """Make of ``target`` what a power cut after these events may leave of ``root``, and return the remote."""
    cut = _Cut(events, root)
    cut.lose(chance)
    target.mkdir()
    for path, number in sorted(cut.names.items()):
        relative = Path(path).relative_to(cut.root)
        if not all(cut.names.get(str(cut.root / parent)) == -1 for parent in relative.parents[:-1]):
            continue  # the directory that it was in is not there
        if number == -1:
            (target / relative).mkdir()
        else:
            (target / relative).write_bytes(cut.files[number].synced)
    store = MemoryStore(f"cut-{os.getpid()}-{next(_names)}")
    for key, (data, _) in cut.objects.items():
        store.put(key, data)
    _put_databases(cut, target, chance)
    return store


class _Cut:
    """What there is, in every version that counts."""

    def __init__(self, events, root):
        self.root = root
        self.files, self.names, self.pending_names = {}, {}, []
        self.objects, self.states, self.indexes = {}, [], []
        for event in events:
            self._see(event)

    def _see(self, event):
        match event:
            case Write() | Resize():
                self.files.setdefault(event.file, _File()).pending.append(event)
            case Sync(file):
                self._apply(self.files.setdefault(file, _File()), lambda _: True)
            case Name(_, file):
                if file > 0:
                    self.files.setdefault(file, _File())
                self.pending_names.append(event)
            case SyncNames(directory):
                mine = [name for name in self.pending_names if str(Path(name.path).parent) == directory]
                self.pending_names = [name for name in self.pending_names if name not in mine]
                for name in mine:
                    self._rename(name)
            case StateIs(durable=True):
                self.states = [event]
            case StateIs():
                self.states.append(event)
            case IndexIs():
                self.indexes.append(event)
            case RemoteIs(objects):
                self.objects = objects

    def _apply(self, file, wanted):
        for event in file.pending:
            if wanted(event):
                file.take(event)
        file.pending.clear()

    def _rename(self, name):
        if name.instead_of is not None:
            self.names.pop(name.instead_of, None)
        if name.file:
            self.names[name.path] = name.file
        else:
            self.names.pop(name.path, None)

    def lose(self, chance):
        """Keep some of what was not synced."""
        for name in self.pending_names:
            if chance.random() < 0.5:
                self._rename(name)
        for file in self.files.values():
            share = chance.choice([0, 0.5, 0.9, 1])
            if chance.random() < 0.5:
                file.pending = [part for event in file.pending for part in _sectors(event)]
            self._apply(file, lambda _, share=share: chance.random() < share)


def _sectors(event):
    if not isinstance(event, Write):
        return [event]
    borders = [0, *range(SECTOR - event.offset % SECTOR, len(event.data), SECTOR), len(event.data)]
    return [
        Write(event.file, event.offset + start, event.data[start:end]) for start, end in itertools.pairwise(borders)
    ]


def _put_databases(cut, target, chance):
    state, index = target / "a" / "state.db", target / "a" / "cache" / "index.db"
    if state.exists() and cut.states:
        left = chance.choice(cut.states)
        state.write_bytes(left.main)
        state.with_name("state.db-wal").write_bytes(left.wal)
    if index.parent.exists() and cut.indexes and chance.random() < 0.9:
        versions = cut.indexes[-4:]
        index.write_bytes(_mixed([version.main for version in versions], chance))
        if chance.random() < 0.8:
            index.with_name("index.db-wal").write_bytes(_mixed([version.wal for version in versions], chance))
    shared = target / "a" / "shared"
    if shared.exists() and chance.random() < 0.5:
        words = [chance.choice([0, 1, 2**63]) for _ in range(511)]
        shared.write_bytes(b"grftshr1" + b"".join(word.to_bytes(8, "little") for word in words))


def _mixed(versions, chance):
    """One version, or sectors or blocks of several."""
    data = bytearray(chance.choice(versions))
    if chance.random() < 0.5:
        size = chance.choice([SECTOR, BLOCK])
        for start in range(0, len(data), size):
            part = chance.choice(versions)[start : start + size]
            data[start : start + len(part)] = part
    return bytes(data)
