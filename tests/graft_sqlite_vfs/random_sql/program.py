"""Programs: statements and operations, wholly determined by a seed, so that any part of one can be run again.

A step is an SQL statement, or an operation on the volume (``-- push``). Names may be missing where a statement comes:
then plain SQLite and the volume must fail alike.
"""

import random
from dataclasses import dataclass, field

OPERATIONS = (
    "push", "pull", "past", "fork", "hold", "release", "reopen", "compact", "evict", "other",
    "foreign", "diverge", "backup", "blob", "export", "hydrate",
)  # fmt: skip
_PRAGMAS = (
    ("cache_size", (1, 5, 50, 2000)),
    ("cache_spill", ("off", 1, 3)),
    ("temp_store", (0, 1, 2)),
    ("secure_delete", (0, 1, "fast")),
    ("foreign_keys", (0, 1)),
    ("recursive_triggers", (0, 1)),
    ("cell_size_check", (0, 1)),
)


@dataclass(frozen=True)
class Program:
    """What to run, on which kind of database."""

    page_size: int
    encoding: str
    auto_vacuum: int
    pragmas: tuple[str, ...]
    settings: dict[str, int | str]
    durability: str
    steps: tuple[str, ...] = field(repr=False)


def program_of(seed: int, length: int = 120) -> Program:
    """Return the program of a seed."""
    choose = random.Random(seed)
    page_size = choose.choice([512, 1024, 4096, 4096, 16384, 65536])
    settings = {
        "spill_bytes": choose.choice([0, 20_000, 16 * 2**20]),
        "journal_file_bytes": choose.choice([64 * 2**10, 2**20]),
        "cache_bytes_max": choose.choice([2**20, 2**32]),
        "cache_file_bytes": 256 * 2**10,
        "inline_bytes_max": choose.choice([0, 32 * 2**10]),
        "frame_bytes": max(page_size, choose.choice([16 * 2**10, 64 * 2**10])),
        "codec": choose.choice(["raw", "lz4", "zstd"]),
    }
    writer = _Writer(choose)
    return Program(
        page_size=page_size,
        encoding=choose.choice(["UTF-8", "UTF-8", "UTF-16le", "UTF-16be"]),
        auto_vacuum=choose.choice([0, 0, 1, 2]),
        pragmas=tuple(f"PRAGMA {name}={choose.choice(values)}" for name, values in _PRAGMAS if choose.random() < 0.5),
        settings=settings,
        durability=choose.choice(["relaxed", "local", "remote"]),
        steps=tuple(writer.step() for _ in range(length)),
    )


class _Writer:
    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.tables = {"log": ["n", "what"]}
        self.names = 0

    def step(self) -> str:
        kinds = {
            self.insert: 20, self.bulk: 6, self.update: 14, self.delete: 8, self.select: 12, self.schema: 10,
            self.transaction: 18, self.pragma: 4, self.virtual: 6, self.operation: 14,
        }  # fmt: skip
        return self.choose.choices(list(kinds), list(kinds.values()))[0]()

    def operation(self) -> str:
        return f"-- {self.choose.choice(OPERATIONS)} {self.choose.randrange(100)}"

    def table(self) -> tuple[str, list[str]]:
        return self.choose.choice([*self.tables.items(), ("aux.x", ["a", "b"])])

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def value(self) -> str:
        n = self.choose.randrange(1000)
        return self.choose.choice(
            [
                "NULL", str(n), str(n), str(-n), "281474976710655", f"{n}.25", f"'é😀ß{n}'", f"'{'x' * (n % 40)}{n}'",
                f"zeroblob({n * self.choose.choice([1, 1, 40])})", f"x'{n:06x}'", f"hex(zeroblob({n}))",
                f"json_object('a', {n}, 'b', json_array(1, 'z'))", f"jsonb('[{n}]')",
            ]
        )  # fmt: skip

    def conflict(self) -> str:
        return self.choose.choice(["", "", "OR IGNORE", "OR REPLACE", "OR FAIL", "OR ABORT", "OR ROLLBACK"])

    def insert(self) -> str:
        name, columns = self.table()
        values = ", ".join(self.value() for _ in columns)
        first = columns[self.choose.randrange(len(columns))]
        end = self.choose.choice(
            [
                "",
                "",
                f"RETURNING {first}",
                f"ON CONFLICT DO UPDATE SET {first} = excluded.{first}",
                "ON CONFLICT DO NOTHING",
            ]
        )
        return f"INSERT {self.conflict()} INTO {name}({', '.join(columns)}) VALUES ({values}) {end}".rstrip()

    def bulk(self) -> str:
        name, columns = self.table()
        start, count = self.choose.randrange(1000), self.choose.choice([10, 60, 400])
        made = self.choose.choice(
            ["i % 7", f"hex(zeroblob(i % {self.choose.choice([3, 900])}))", "'é' || i", "zeroblob(i % 99)"]
        )
        values = ", ".join(["i", *(made for _ in columns[1:])])
        return (
            f"WITH RECURSIVE k(i) AS (SELECT {start} UNION ALL SELECT i + 1 FROM k WHERE i < {start + count}) "
            f"INSERT {self.conflict()} INTO {name}({', '.join(columns)}) SELECT {values} FROM k"
        )

    def where(self, columns: list[str]) -> str:
        n, column = self.choose.randrange(2, 9), self.choose.choice(columns)
        return self.choose.choice(
            [f"rowid % {n} = 0", f"{column} = {self.value()}", f"length({column}) % 2 = 0", f"{column} > {n * 50}", "1"]
        )

    def update(self) -> str:
        name, columns = self.table()
        column, other = self.choose.choice(columns), self.choose.choice(columns)
        new = self.choose.choice([self.value(), f"{column} || 'y'", other, f"{column} + 3", "rowid"])
        return f"UPDATE {self.conflict()} {name} SET {column} = {new} WHERE {self.where(columns)}".replace("  ", " ")

    def delete(self) -> str:
        name, columns = self.table()
        return f"DELETE FROM {name} WHERE {self.where(columns)}"

    def select(self) -> str:
        name, columns = self.table()
        a, b = self.choose.choice(columns), self.choose.choice(columns)
        return self.choose.choice(
            [
                f"SELECT sum(length({a})), max({b}), count(*) FROM {name}",
                f"SELECT * FROM {name} WHERE {a} >= {self.value()} ORDER BY {a}, {b}, 1 LIMIT 30",
                f"SELECT {a}, row_number() OVER (PARTITION BY {b} ORDER BY {a}, rowid) FROM {name} LIMIT 40",
                f"SELECT count(*) FROM {name} l LEFT JOIN log ON log.what = l.{a}",
                f"SELECT {a}, count(*) FROM {name} GROUP BY 1 ORDER BY 1 DESC LIMIT 9",
            ]
        )

    def schema(self) -> str:
        kind = self.choose.choice(["table", "table", "index", "index", "drop", "alter", "trigger", "view", "vacuum"])
        name, columns = self.table()
        if kind == "table":
            made = self.name("t")
            columns = ["a", "b", "c"]
            self.tables[made] = columns
            return self.choose.choice(
                [
                    f"CREATE TABLE {made}(a INTEGER PRIMARY KEY, b, c TEXT)",
                    f"CREATE TABLE {made}(a INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE, c DEFAULT 7)",
                    f"CREATE TABLE {made}(a, b COLLATE NOCASE, c, PRIMARY KEY(a, b)) WITHOUT ROWID",
                    f"CREATE TABLE {made}(a INT, b INT, c, d AS (coalesce(a, 0) + 1) STORED, e AS (c || 'e'))",
                    f"CREATE TABLE {made}(a INTEGER PRIMARY KEY, b REFERENCES log(n) ON DELETE CASCADE, c)",
                    f"CREATE TABLE {made} AS SELECT 1 AS a, n AS b, what AS c FROM log",
                ]
            )
        if kind == "index":
            a, b = self.choose.choice(columns), self.choose.choice(columns)
            schema, _, bare = name.rpartition(".")
            index = f"{schema}.{self.name('i')}" if schema else self.name("i")
            return self.choose.choice(
                [
                    f"CREATE INDEX {index} ON {bare}({a} DESC, {b})",
                    f"CREATE UNIQUE INDEX {index} ON {bare}({a}, {b})",
                    f"CREATE INDEX {index} ON {bare}(length({a}), lower({b}))",
                    f"CREATE INDEX {index} ON {bare}({a}) WHERE {b} IS NOT NULL",
                ]
            )
        if kind == "drop":
            number = self.choose.randrange(1, self.names + 2)
            what = self.choose.choice(["TABLE", "INDEX", "TRIGGER", "VIEW"])
            dropped = f"{ {'TABLE': 't', 'INDEX': 'i', 'TRIGGER': 'g', 'VIEW': 'v'}[what] }{number}"
            self.tables.pop(dropped, None)
            return f"DROP {what} {dropped}"
        if kind == "alter":
            return self.choose.choice(
                [
                    f"ALTER TABLE {name} ADD COLUMN {self.name('z')} DEFAULT '{'x' * self.choose.choice([3, 500])}'",
                    f"ALTER TABLE {name} DROP COLUMN {self.choose.choice(columns)}",
                ]
            )
        if kind == "trigger":
            event = self.choose.choice(["INSERT", "UPDATE", "DELETE"])
            return (
                f"CREATE TRIGGER {self.name('g')} AFTER {event} ON {name.rpartition('.')[2]} BEGIN "
                f"INSERT INTO log(what) VALUES ('{event} ' || (SELECT count(*) FROM log)); END"
            )
        if kind == "view":
            return f"CREATE VIEW {self.name('v')} AS SELECT {columns[0]} AS q, count(*) AS w FROM {name} GROUP BY 1"
        return self.choose.choice(["VACUUM", "VACUUM", "VACUUM aux", "REINDEX", "ANALYZE", "PRAGMA optimize"])

    def transaction(self) -> str:
        number = self.choose.randrange(3)
        return self.choose.choice(
            [
                "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "COMMIT", "COMMIT", "COMMIT", "ROLLBACK",
                f"SAVEPOINT s{number}", f"ROLLBACK TO s{number}", f"RELEASE s{number}",
            ]
        )  # fmt: skip

    def pragma(self) -> str:
        n = self.choose.randrange(100)
        return self.choose.choice(
            [
                f"PRAGMA user_version={n}", f"PRAGMA cache_size={n % 20 + 1}", f"PRAGMA incremental_vacuum({n % 12})",
                "PRAGMA foreign_key_check", "PRAGMA synchronous=full", "PRAGMA shrink_memory", "PRAGMA page_count",
            ]
        )  # fmt: skip

    def virtual(self) -> str:
        n = self.choose.randrange(300)
        return self.choose.choice(
            [
                "CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(title, body)",
                "CREATE VIRTUAL TABLE IF NOT EXISTS r USING rtree(id, x0, x1)",
                f"INSERT INTO f VALUES ('title {n}', 'word{n % 9} and {'more ' * (n % 30)}')",
                f"DELETE FROM f WHERE rowid % 3 = {n % 3}",
                f"SELECT rowid, title FROM f WHERE f MATCH 'word{n % 9}' ORDER BY rowid",
                "INSERT INTO f(f) VALUES ('optimize')",
                f"INSERT OR REPLACE INTO r VALUES ({n}, {n}, {n + n % 40})",
                f"SELECT id FROM r WHERE x0 > {n} AND x1 < {n + 100} ORDER BY id",
                f"DELETE FROM r WHERE id % 4 = {n % 4}",
            ]
        )
