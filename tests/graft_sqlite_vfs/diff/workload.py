"""Random schemas and random changes to them, for comparing versions with a model that reads both of them whole."""

import random
from dataclasses import dataclass, field

import apsw

COLLATIONS = ("", " COLLATE NOCASE", " COLLATE RTRIM")


@dataclass
class Made:
    """A table and how its rows are told apart."""

    name: str
    sql: str
    columns: list[str]
    key: list[str]
    folds: list[str]
    has_rowid: bool = True
    virtual: bool = False
    text_only: set[str] = field(default_factory=set)


class Workload:
    """Changes to a database; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.page_size = self.random.choice([512, 1024, 4096])
        self.tables = [self._table(number) for number in range(self.random.randint(1, 4))]
        if self.random.random() < 0.5:
            sql = "CREATE VIRTUAL TABLE search USING fts5(title, body)"
            self.tables.append(
                Made("search", sql, ["title", "body"], [], [], virtual=True, text_only={"title", "body"})
            )
        if self.random.random() < 0.3:
            sql = "CREATE VIRTUAL TABLE boxes USING rtree(id, low, high)"
            self.tables.append(Made("boxes", sql, ["id", "low", "high"], [], [], virtual=True))

    def create(self, connection: apsw.Connection) -> None:
        connection.create_scalar_function("one_in", lambda count: self.random.randrange(count) == 0, 1)
        connection.execute(f"PRAGMA encoding = '{self.random.choice(['UTF-8', 'UTF-16le', 'UTF-16be'])}'")
        connection.execute(f"PRAGMA auto_vacuum = {self.random.choice([0, 0, 1, 2])}")
        for table in self.tables:
            connection.execute(table.sql)
            if not table.virtual and self.random.random() < 0.5:
                connection.execute(f"CREATE INDEX {table.name}_i ON {table.name}({self.random.choice(table.columns)})")

    def _table(self, number: int) -> Made:
        kind = self.random.choice(["rowid", "integer", "key", "without"])
        columns = [f"c{place}" for place in range(self.random.randint(1, 5))]
        key, folds, definitions = [], [], [f"{column}" for column in columns]
        if kind == "integer":
            columns, definitions, key = ["id", *columns], ["id INTEGER PRIMARY KEY", *definitions], ["id"]
            folds = [""]
        elif kind != "rowid":
            key = self.random.sample(columns, self.random.randint(1, len(columns)))
            folds = [self.random.choice(COLLATIONS) for _ in key]
            definitions.append(
                "PRIMARY KEY (" + ", ".join(column + fold for column, fold in zip(key, folds, strict=True)) + ")"
            )
        text_only = set()
        if self.random.random() < 0.4 and columns[-1] not in key:
            source = columns[-1]
            text_only.add(source)
            store = self.random.choice(["VIRTUAL", "STORED"])
            definitions.insert(len(columns), f"made TEXT AS ({source} || '!') {store}")
        without = kind == "without"
        sql = f"CREATE TABLE t{number}({', '.join(definitions)}){' WITHOUT ROWID' if without else ''}"
        return Made(f"t{number}", sql, columns, key, folds, has_rowid=not without, text_only=text_only)

    def value(self, *, short: bool = False, text: bool = False) -> object:
        kind = 4 if text else self.random.randint(0, 5)
        if kind == 0:
            return self.random.randint(-5, 10 ** self.random.randint(0, 12))
        if kind == 1:
            return self.random.choice([0.5, 1.0, self.random.random()])
        if kind == 2 and not short:
            return None
        if kind == 3 and not short:
            return self.random.randbytes(self.random.choice([3, 90, 5000]))
        return self.random.choice("abcABCé ") * self.random.choice([0, 1, 5, 60 if short else 900]) + str(
            self.random.randint(0, 40)
        )

    def change(self, connection: apsw.Connection) -> None:
        """Make one statement's changes."""
        table = self.random.choice(self.tables)
        step = self.random.randint(0, 13)
        name, column = table.name, self.random.choice(table.columns)
        if step < 7:
            values = [
                self.random.randint(1, 900)
                if one == "id"
                else 1 if table.name == "boxes" and one == "low"
                else self.random.randint(2, 9) if table.name == "boxes"
                else self.value(short=one in table.key, text=one in table.text_only)
                for one in table.columns
            ]  # fmt: skip
            places = ", ".join("?" * len(values))
            connection.execute(f"INSERT OR REPLACE INTO {name}({', '.join(table.columns)}) VALUES ({places})", values)
        elif step == 7:
            where = f"one_in({self.random.choice([2, 20, 200])})"
            connection.execute(f"DELETE FROM {name} WHERE {where}")
        elif step == 8 and not table.virtual and column not in table.key:
            text = column in table.text_only
            where = f"one_in({self.random.choice([2, 20, 200])})"
            connection.execute(f"UPDATE {name} SET {column} = ? WHERE {where}", (self.value(text=text),))
        elif step in {9, 10} and not table.virtual and column not in table.key:
            # The same length, so that SQLite writes over the old value in place.
            condition = f"typeof({column}) = 'blob' AND length({column}) > 900"
            connection.execute(
                f"UPDATE {name} SET {column} = CAST(substr({column}, 1, length({column}) - 1) || x'00' AS BLOB) "
                f"WHERE {condition}"
            )
        elif step == 11 and self.random.random() < 0.2:
            connection.execute("VACUUM")
        elif step == 12:
            connection.execute("PRAGMA incremental_vacuum(5)")
        elif step == 13:
            extra = self.random.choice(["CREATE TABLE IF NOT EXISTS extra(x)", "DROP TABLE IF EXISTS extra"])
            connection.execute(extra)
            if extra.startswith("CREATE"):
                connection.execute("INSERT INTO extra VALUES (1)")


def model(connection: apsw.Connection, tables: list[Made]) -> dict[tuple, dict]:
    """Return all rows by table and identity."""
    found = {}
    for table in tables:
        rowid = "rowid" if table.has_rowid else "NULL"
        cursor = connection.execute(f"SELECT {rowid}, * FROM {table.name}")
        rows = list(cursor)
        names = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({table.name})") if row[6] in {0, 2, 3}]
        for row in rows:
            values = dict(zip(names, row[1:], strict=True))
            key = tuple(_fold(values[column], fold) for column, fold in zip(table.key, table.folds, strict=True))
            if not key or None in key:
                key = ("rowid", row[0])
            found[table.name, *key] = values
    return found


def _fold(value: object, collation: str) -> object:
    if isinstance(value, str) and collation.endswith("NOCASE"):
        return "".join(letter.lower() if letter.isascii() else letter for letter in value)
    return value.rstrip(" ") if isinstance(value, str) and collation.endswith("RTRIM") else value
