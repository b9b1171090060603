"""What several tests of documents need: a reducer, and documents and coordinators that die."""

import contextlib
import itertools

from sqlsync.coordination.coordinator import Coordinator
from sqlsync.coordination.local_link import LocalLink
from sqlsync.documents.document import Document
from sqlsync.failpoints import set_failpoint_hook
from tests.graft import support as graft_support


class Notes:
    """A reducer over one table of notes, written against the port alone."""

    version = 1
    digest = None

    def migrate(self, context, version):
        context.execute("CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT, version INTEGER DEFAULT 1) STRICT")

    def check(self, mutation):
        pass

    def apply(self, context):
        body = context.mutation.body
        getattr(self, f"_{body.name}")(context, **body.arguments)

    def _put(self, context, key, value):
        context.execute(
            "INSERT INTO notes (key, value) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = version + 1",
            (key, value),
        )

    def _append(self, context, key, value):
        context.execute(
            "INSERT INTO notes (key, value) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = value || excluded.value, version = version + 1",
            (key, value),
        )

    def _take(self, context, key, value):
        """Take a key that nobody has."""
        if list(context.query("SELECT 1 FROM notes WHERE key = ?", (key,))):
            context.reject(f"{key} is taken")
        self._put(context, key, value)

    def _remove(self, context, key):
        if not context.execute("DELETE FROM notes WHERE key = ?", (key,)):
            context.reject(f"there is no {key}")


class Stage:
    """One document's volume in a store in memory, with its coordinators and clients in one directory."""

    def __init__(self, directory, store=None, reducer=Notes):
        self.directory = directory
        self.reducer = reducer
        self.store = store or graft_support.fresh_store()
        self.remote = f"{self.store.url}#doc"
        self._names = itertools.count(1)
        self.open = []

    def coordinator(self, name="coordinator", *, reducer=None, **options):
        found = Coordinator(self.directory / name, self.remote, reducer or self.reducer(), store=self.store, **options)
        self.open.append(found)
        return found

    def client(self, name, coordinator=None, **options):
        """A client of a coordinator, or a direct one."""
        link = options.pop("link", None) or (LocalLink(coordinator) if coordinator else None)
        found = Document.open(
            self.directory / name, self.remote, self.reducer(), link=link, actor=name, store=self.store, **options
        )
        self.open.append(found)
        return found

    def close(self):
        for found in reversed(self.open):
            found.close()


def notes(document):
    return dict(document.query("SELECT key, value FROM notes ORDER BY key"))


@contextlib.contextmanager
def failpoint_hook(hook):
    set_failpoint_hook(hook)
    try:
        yield
    finally:
        set_failpoint_hook(None)


def kill_document(document):
    """End a document as the death of its process would: nothing is written any more."""
    client = document._client
    _kill_volume(client.view.volume, [client.view._reader])
    client.timeline.close()


def kill_coordinator(coordinator):
    """End a coordinator as the death of its process would."""
    _kill_volume(coordinator._volume, [])
    coordinator._inbox.close()


def _kill_volume(volume, readers):
    for connection in (*readers, volume.connection):
        connection.close()  # what it did not commit is dropped
    graft_support.kill(volume.replica)
    volume.lock.close()
    volume.alive = False
