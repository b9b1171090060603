"""Volumes that are created once, stored as files, and uploaded to the server when a scenario needs them.

A template is a tar of a store's objects, with the list of the objects that existed at each checkpoint. It is created in
memory, and again after each change of the code that creates it.
"""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import graft
import graft_sqlite_vfs
import metastore
import pagestore
import testbed.messages
from graft.sync.clone import init
from graft.sync.push import push
from graft_sqlite_vfs.btree.layout import btree_layout
from graft_sqlite_vfs.connection import connect
from graft_sqlite_vfs.importing import import_database
from pagestore.objectstore import ObjectStore
from pagestore.parallel import Parallel
from pagestore.stores.memory import MemoryStore
from testbed.messages import TOUCH, message_database, random_ids

VOLUME = "bench"
_INDEX = "checkpoints.json"
_AT_ONCE = 16


def make_template(directory: Path, size: int, checkpoints: Sequence[int]) -> Path:
    """Return a template: an import of messages of that size, then pushes of one row each up to the last checkpoint."""
    path = directory / f"template-{size}-{max(checkpoints)}-{_digest_of_code()}.tar"
    if path.exists():
        return path
    for outdated in directory.glob(f"template-{size}-{max(checkpoints)}-*"):
        outdated.unlink()
    source = message_database(directory, size)
    store = MemoryStore(f"template-{size}-{max(checkpoints)}")
    keys: dict[int, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="graft-benchmarks-") as scratch:
        replica = init(Path(scratch, "writer"), f"{store.url}#{VOLUME}", store=store)
        import_database(replica, source)
        push(replica, layout=btree_layout)
        database = connect(replica.path, durability="relaxed")
        for number, wanted in enumerate(random_ids(size, max(checkpoints), seed=2)):
            if number in checkpoints:
                keys[number] = [found.key for found in store.list("")]
            database.execute(TOUCH, (f"s{number}", wanted))
            push(replica)
        keys[max(checkpoints)] = [found.key for found in store.list("")]
        database.close()
        replica.close()
    _write(path, store, keys)
    return path


def put_template(path: Path, store: ObjectStore, pushes: int) -> None:
    """Upload the objects that existed after ``pushes`` pushes, names last, unless the store has a volume."""
    if next(iter(store.list("volumes/", limit=1)), None) is not None:
        return
    with tarfile.open(path) as tar, Parallel(_AT_ONCE) as parallel:
        wanted = set(json.loads(_content(tar, _INDEX))[str(pushes)])
        found = [(name, _content(tar, name)) for name in tar.getnames() if name in wanted]
        found.sort(key=lambda item: item[0].startswith("volumes/"))
        names = [item for item in found if item[0].startswith("volumes/")]
        bodies = found[: len(found) - len(names)]
        for part in (bodies, names):
            for _ in parallel.map(lambda item: store.put(item[0], item[1]), part):
                pass


def _write(path: Path, store: ObjectStore, keys: dict[int, list[str]]) -> None:
    draft = path.with_suffix(".draft")
    with tarfile.open(draft, "w") as tar:
        for name, data in _members(store, keys):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    draft.rename(path)


def _members(store: ObjectStore, keys: dict[int, list[str]]) -> Iterator[tuple[str, bytes]]:
    yield _INDEX, json.dumps(keys).encode()
    for found in store.list(""):
        yield found.key, store.get(found.key)


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None, "BUG: a member that is no file"
    return file.read()


def _digest_of_code() -> str:
    found = hashlib.blake2b(digest_size=6)
    for package in (pagestore, metastore, graft, graft_sqlite_vfs):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            found.update(path.read_bytes())
    found.update(Path(str(testbed.messages.__file__)).read_bytes())
    return found.hexdigest()
