"""The bytes that a new client of a large document fetches to read 1 % of it."""

import hashlib
from collections.abc import Iterable
from typing import Any

from benchmarks.rows import Reading
from benchmarks.scenario import timed
from benchmarks.sync.scenario import Place
from graft_sqlite_vfs.connection import connect
from pagestore.stores.metered import MeteredStore
from pagestore.urls import open_store
from sqlsync.documents.document import Document

_TEXT_BYTES = 400
_PART = 100


_SCATTERED = """WITH RECURSIVE pick (id, left) AS (
    SELECT 7, ?1 UNION ALL SELECT (id * 7919 + 13) % ?2, left - 1 FROM pick WHERE left > 1
) SELECT sum(length(text)) FROM pick JOIN tasks USING (id)"""


class Reading1Percent:
    """A client that opens the document and reads 1 % of its rows, in one range or scattered."""

    name = "read_1_percent"
    systems = ("python",)

    def prepare(self, place: Place) -> None:
        """Make a large document, pushed by another replica."""
        rows = place.sizes.document_bytes // (_TEXT_BYTES + 40)
        connection = connect(place.fresh("maker"), remote=place.remote)
        connection.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY, owner TEXT, text TEXT, done INTEGER)")
        with connection:
            connection.executemany(
                "INSERT INTO tasks VALUES (?, ?, ?, 0)",
                ((number, f"owner {number % 100}", _text(number)) for number in range(rows)),
            )
        connection.pragma("graft_push")
        connection.close()

    def run(self, place: Place) -> Iterable[Reading]:
        """Open the document anew, and read."""
        rows = place.sizes.document_bytes // (_TEXT_BYTES + 40)
        part, middle = rows // _PART, rows // 2
        for variant, sql, bindings in (
            ("range", "SELECT sum(length(text)) FROM tasks WHERE id BETWEEN ? AND ?", (middle, middle + part - 1)),
            ("scattered", _SCATTERED, (part, rows)),
        ):
            store = MeteredStore(open_store(place.remote.partition("#")[0]))
            path, found = place.fresh(variant), list[Any]()

            def read(
                path: Any = path,
                sql: str = sql,
                bindings: Any = bindings,
                found: Any = found,
                store: MeteredStore = store,
            ) -> None:
                with Document(path, place.remote, place.system.reducer(), store=store) as document:
                    found += document.query(sql, bindings)
                    found += document.query("SELECT page_count * 4096 FROM pragma_page_count")

            seconds = timed(read)
            traffic = store.snapshot()
            assert found[0] == (part * _TEXT_BYTES,), "BUG: not a hundredth"
            scenario = f"{self.name}/{variant}"
            yield Reading(scenario, "seconds", seconds)
            yield Reading(scenario, "requests", traffic.requests)
            yield Reading(scenario, "bytes_down", traffic.bytes_down)
            yield Reading(scenario, "live_bytes", float(str(found[1][0])))


def _text(number: int) -> str:
    """Return text that compresses to half its size, as prose does."""
    digests = (hashlib.sha256(f"{number} {part}".encode()).hexdigest() for part in range(_TEXT_BYTES // 64 + 1))
    return "".join(digests)[:_TEXT_BYTES]
