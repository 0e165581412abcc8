"""The one door to the MDM store: an engine with the right settings, and two kinds of transaction.

* `read()`: a consistent snapshot (REPEATABLE READ on PostgreSQL); nothing it does is kept.
* `write()`: one transaction, committed when the block ends well and rolled back otherwise. On SQLite it takes the
  write lock at once (BEGIN IMMEDIATE), so that what it read is still true when it writes.
* Several processes: `alone(name)` says whether this process may do a piece of work that only one may do at a time. On PostgreSQL it
  is an advisory lock, gone with its connection; on SQLite a locked file beside the store, free when its process is gone.
* `is_clash` tells a transaction that another one got in the way of, and that may be tried again; `committed` whether this thread has
  written anything since.
* Durable: SQLite in WAL with synchronous FULL, PostgreSQL with synchronous_commit on (architecture.md section 6).
* Everything that differs between the two engines is in this file.
"""

from __future__ import annotations

import fcntl
import importlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Table, Text, bindparam, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from gridtally_shared.errors import ConfigError

_WRITE = "gridtally_write"
BUSY_TIMEOUT_MS = 30_000
CLASHES = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialisation failure and of a deadlock."""

_ALONE = text("SELECT pg_try_advisory_xact_lock(hashtextextended('gridtally ' || :name, 0))")
_IN_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended('gridtally ' || :name, 0))")

_SQLITE_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


class Database:
    """`url` is an SQLAlchemy URL: `sqlite:///file.db` or `postgresql+psycopg://...`; or the path of an SQLite file."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url) if "://" in str(url) else f"sqlite:///{url}"
        self.engine = _engine(self.url)
        self._writing = self.engine.execution_options(**{_WRITE: True})
        self._reading = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._writer = threading.Lock()
        self._here = threading.local()

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the store throughout."""
        with self._reading.connect() as conn:
            yield conn

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Whether nobody else, here or in another process, is inside the block of that name now. A process that is killed leaves nothing
        behind."""
        if self.is_sqlite:
            with _alone_at(Path(f"{self.engine.url.database}-alone"), name) as allowed:
                yield allowed
            return
        with self.engine.connect() as conn:
            yield bool(conn.execute(_ALONE, {"name": name}).scalar_one())

    @contextmanager
    def write(self, counts: bool = True) -> Iterator[Connection]:
        """A connection inside one write transaction. Must not be nested in one thread (ValueError). `counts`: whether it is one of
        `committed`; not so, where doing it twice does no harm."""
        if getattr(self._here, "writing", False):
            raise ValueError("a write transaction is already open in this thread: pass its connection on")
        with self._one_writer(), self._writing.begin() as conn:
            yield conn
        self._here.committed = self.committed + counts

    @property
    def committed(self) -> int:
        """How many write transactions of this thread were committed."""
        return getattr(self._here, "committed", 0)

    @contextmanager
    def _one_writer(self) -> Iterator[None]:
        """Writers of one process queue here, which is fairer and quicker than SQLite's busy polling."""
        lock = self._writer if self.is_sqlite else threading.Lock()
        with lock:
            self._here.writing = True
            try:
                yield
            finally:
                self._here.writing = False

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _alone_at(folder: Path, name: str) -> Iterator[bool]:
    """Not the store's own lock, which nobody may hold while he sends files or asks a bank."""
    folder.mkdir(exist_ok=True)
    with (folder / quote(name, safe=" ")).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            allowed = True
        except BlockingIOError:
            allowed = False
        yield allowed


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigError("store.url", url, "name a file: the store is shared by threads and processes")
        engine = create_engine(url)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() == "postgresql":
        from gridtally_cloud.store.tables import say_to_postgresql

        say_to_postgresql()
        engine = create_engine(url, connect_args={"options": "-c synchronous_commit=on -c timezone=UTC"})
        event.listen(engine, "connect", _whole_sums())
        return engine
    raise ConfigError("store.url", url, "write sqlite:///file.db or postgresql+psycopg://user@host/name")


def _whole_sums() -> Any:
    """A sum of whole numbers is one, as on SQLite: PostgreSQL's is `numeric`, which arrives as a Decimal, whose `//` and `%` round
    towards zero and which no format of money and no message takes."""
    from psycopg.adapt import Loader

    class Whole(Loader):
        def load(self, data: Any) -> Any:
            said = str(bytes(data), "ascii")
            return int(said) if said.lstrip("-").isdigit() else Decimal(said)

    return lambda connection, _record: connection.adapters.register_loader("numeric", Whole)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for pragma in _SQLITE_PRAGMAS:
        connection.execute(pragma)


def _begin_sqlite(conn: Connection) -> None:
    """Past SQLAlchemy's statements, which take four times as long as it does; a refusal is the one they would raise."""
    begin = "BEGIN IMMEDIATE" if conn.get_execution_options().get(_WRITE) else "BEGIN"
    raw: Any = conn.connection.driver_connection
    try:
        raw.execute(begin)
    except sqlite3.OperationalError as error:
        raise OperationalError(begin, None, error) from error


def in_turn(conn: Connection, name: str) -> None:
    """Transactions that call this with one name follow each other; on SQLite they always do."""
    if conn.dialect.name == "postgresql":
        conn.execute(_IN_TURN, {"name": name})


def is_clash(error: DBAPIError) -> bool:
    """Two transactions got in each other's way and this one was rolled back: it may be tried again at once."""
    return getattr(error.orig, "sqlstate", None) in CLASHES


def is_busy(error: DBAPIError) -> bool:
    """A clash, or SQLite's one writer did not come free in time: nothing was done, and it may go well a little later."""
    return is_clash(error) or getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def insert_new(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose primary key is not there yet; the others are left as they are. Number inserted. All rows
    name the same columns."""
    if not rows:
        return 0
    statement = _insert_new(table, tuple(rows[0]), conn.dialect.name)
    return int(conn.execute(statement, [dict(row) for row in rows], execution_options={"preserve_rowcount": True}).rowcount)


def upsert(conn: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert the row, or replace the columns it names where its primary key is already there."""
    upsert_all(conn, table, (row,))


def upsert_all(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """`upsert` of many rows that name the same columns, in one statement."""
    if rows:
        conn.execute(_upsert(table, tuple(rows[0]), conn.dialect.name), [dict(row) for row in rows])


def add_all(conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], added: tuple[str, ...]) -> None:
    """`upsert_all` that adds to the columns named in `added` instead of replacing them."""
    if rows:
        conn.execute(_upsert(table, tuple(rows[0]), conn.dialect.name, added), [dict(row) for row in rows])


def put_rows(conn: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]], replace: bool = False,
          in_order: bool = False) -> None:  # fmt: skip
    """Insert many rows, values in the order of `columns`, each written as its type has it; with `replace` as `upsert` does. For bulk:
    past SQLAlchemy's dictionaries, which take longer than SQLite does, and on PostgreSQL one array a column. `in_order` says that they
    come in the order of the key."""
    if not rows:
        return
    statement = _put(table, columns, conn.dialect.name, replace)
    if conn.dialect.name != "sqlite":
        conn.exec_driver_sql(statement, tuple(map(list, zip(*rows, strict=True))))
        return
    for some in _dense(rows) if in_order else (list(rows),):
        conn.exec_driver_sql(statement, some)


_LEFT_OUT = 12


def _dense(rows: Sequence[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows in two goes, every twelfth in the second: SQLite leaves a ninth of each page free where rows come in the order of the key,
    and these fill it (blocks: 1.69 bytes an interval became 1.58)."""
    goes = [row for i, row in enumerate(rows, 1) if i % _LEFT_OUT], list(rows[_LEFT_OUT - 1 :: _LEFT_OUT])
    yield from filter(None, goes)


@cache
def _put(table: Table, columns: tuple[str, ...], dialect: str, replace: bool) -> str:
    if dialect == "sqlite":
        source = f"VALUES ({', '.join('?' * len(columns))})"
    else:
        types = (table.c[name].type.compile(dialect_of(dialect).dialect()) for name in columns)
        source = f"SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in types)})"
    keys = [c.name for c in table.primary_key.columns]
    others = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in keys)
    again = f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {others}" if replace else ""
    return f"INSERT INTO {table.name} ({', '.join(columns)}) {source}{again}"


@cache
def _insert_new(table: Table, columns: tuple[str, ...], dialect: str) -> Any:
    return _insert(table, columns, dialect).on_conflict_do_nothing()


@cache
def _upsert(table: Table, columns: tuple[str, ...], dialect: str, added: tuple[str, ...] = ()) -> Any:
    keys = [c.name for c in table.primary_key.columns]
    statement = _insert(table, columns, dialect)
    values = {n: table.c[n] + statement.excluded[n] if n in added else statement.excluded[n] for n in columns if n not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=values) if values else statement.on_conflict_do_nothing()


def dialect_of(name: str) -> Any:
    """SQLAlchemy's module of an engine. Loaded when it is needed: that of PostgreSQL takes 2 MB, which a store on SQLite does without."""
    return importlib.import_module(f"sqlalchemy.dialects.{name}")


def _insert(table: Table, columns: tuple[str, ...], dialect: str) -> Any:
    return dialect_of(dialect).insert(table).values({name: bindparam(name) for name in columns})


class hexed(GenericFunction[str]):
    """Bytes as lower-case hexadecimal digits."""

    type = Text()
    inherit_cache = True


@compiles(hexed)
def _hexed(element: hexed, compiler: Any, **words: Any) -> str:
    return f"lower(hex({compiler.process(element.clauses, **words)}))"


@compiles(hexed, "postgresql")
def _hexed_postgresql(element: hexed, compiler: Any, **words: Any) -> str:
    return f"encode({compiler.process(element.clauses, **words)}, 'hex')"
