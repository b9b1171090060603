"""A client of SQLSync's protocol, written after the behaviour of the published one, and independent of our server."""

import contextlib
import os
import sqlite3
import struct

from websockets.sync.client import connect

from sqlsync.ids import unbase58
from testbed.patience import PATIENCE_S

PAGE = 4096


class Journal:
    """Entries by LSN; takes what follows, or replaces what it has, as the published client's does."""

    def __init__(self):
        self.entries = {}
        self.next_lsn = 0

    @property
    def first(self):
        return next(iter(self.entries), self.next_lsn)

    def range(self):
        if not self.entries:
            return struct.pack("<IQ", 0, self.next_lsn)
        return struct.pack("<IQQ", 1, self.first, self.next_lsn - 1)

    def take(self, lsn, data):
        if self.entries:
            assert self.first <= lsn <= self.next_lsn, f"frame {lsn} does not follow {self.next_lsn - 1}"
        else:
            self.next_lsn = lsn
        self.entries[lsn] = data
        self.next_lsn = max(self.next_lsn, lsn + 1)

    def drop_through(self, lsn):
        self.entries = {each: data for each, data in self.entries.items() if each > lsn}


class WireClient:
    """One tab: storage and timeline in memory; `connect`, `mutate`, `settle` and `disconnect` in any order."""

    def __init__(self, document):
        self.document = unbase58(document)
        self.id = os.urandom(16)
        self.storage, self.timeline = Journal(), Journal()
        self.socket = None
        self.sizes = []
        """Bytes of each storage frame that came."""

    def connect(self, url):
        self._open = contextlib.ExitStack()
        self.socket = self._open.enter_context(connect(url, max_size=None, compression=None))
        self._outstanding = None
        self._send(0, self._id(self.id), self.timeline.range())
        while self._outstanding is None:
            self.receive()
        self.flush()
        return self

    def disconnect(self):
        self._open.close()
        self.socket = None

    def mutate(self, *words):
        self.timeline.take(self.timeline.next_lsn, "\0".join(words).encode())
        if self.socket is not None:
            self.flush()

    def flush(self):
        """Send what may be sent."""
        while self._outstanding[1] in self.timeline.entries and self._outstanding[1] - self._outstanding[0] < 100:
            lsn = self._outstanding[1]
            data = self.timeline.entries[lsn]
            self._send(2, self._id(self.id), struct.pack("<QQ", lsn, len(data)), data)
            self._outstanding = (self._outstanding[0], lsn + 1)

    def receive(self, timeout=PATIENCE_S):
        """Take one message in."""
        message = self.socket.recv(timeout=timeout)
        (tag,) = struct.unpack_from("<I", message)
        if tag == 0:
            identity, at = self._taken_id(message, 4)
            assert identity == self.document
            found = self.storage.range()
            if not self.storage.entries:
                (self.storage.next_lsn,) = struct.unpack_from("<Q", message, at + 4)
                found = self.storage.range()
            self._send(1, found)
        elif tag == 1:
            (kind,) = struct.unpack_from("<I", message, 4)
            next_lsn = (
                struct.unpack_from("<Q", message, 8)[0] if kind == 0 else struct.unpack_from("<Q", message, 16)[0] + 1
            )
            if self._outstanding is None:
                self._outstanding = (next_lsn, next_lsn)
            else:
                assert next_lsn > 0
                self._outstanding = (max(next_lsn, self._outstanding[0]), self._outstanding[1])
        else:
            identity, at = self._taken_id(message, 4)
            lsn, length = struct.unpack_from("<QQ", message, at)
            payload = message[at + 16 :]
            assert (identity, len(payload)) == (self.document, length)
            self.storage.take(lsn, payload)
            self.sizes.append(len(payload))
            self._send(1, self.storage.range())
            applied = self.applied()
            if applied is not None:
                self.timeline.drop_through(applied)
            self.flush()
        return tag

    def settle(self, until=None):
        """Receive until all that was called is confirmed, and ``until`` holds of the notes."""
        while self.timeline.entries or (until is not None and not (self.storage.entries and until(self.notes()))):
            self.receive()

    def database(self):
        """What it holds, as a database."""
        pages = {}
        for data in self.storage.entries.values():
            count = len(data) // (PAGE + 4)
            assert len(data) == count * (PAGE + 4)
            indexes = struct.unpack_from(f"<{count}I", data)
            assert list(indexes) == sorted(set(indexes), reverse=True)
            for place, index in enumerate(indexes):
                pages[index] = data[count * 4 + place * PAGE : count * 4 + (place + 1) * PAGE]
        assert 0 not in pages
        image = bytearray(b"".join(pages.get(index, bytes(PAGE)) for index in range(1, max(pages) + 1)))
        image[24:28] = b"\0\0\0\7"  # the client shows a counter of its own, so SQLite goes by the file's size
        connection = sqlite3.connect(":memory:")
        connection.deserialize(bytes(image))
        return connection

    def applied(self):
        with self.database() as database:
            row = database.execute("SELECT lsn FROM __sqlsync_timelines WHERE id = ?", (self.id,)).fetchone()
        database.close()
        return row[0] if row else None

    def notes(self):
        database = self.database()
        try:
            return dict(database.execute("SELECT key, value FROM notes ORDER BY key"))
        finally:
            database.close()

    def _id(self, raw):
        return struct.pack("<Q", len(raw)) + raw

    def _taken_id(self, message, at):
        (length,) = struct.unpack_from("<Q", message, at)
        return message[at + 8 : at + 8 + length], at + 8 + length

    def _send(self, tag, *parts):
        self.socket.send(struct.pack("<I", tag) + b"".join(parts))
