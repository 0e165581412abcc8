"""Opens an edge store, and brings its tables up to date.

* A store is one SQLite file with one writer: WAL, synchronous FULL (asserted, not hoped for), one commit per sweep.
* `migrate` uses sqlite-utils and is the only place that imports it: it runs at `gridtally-dcu init` or in a child
  process (`migrate_in_child`), never in the agent, where it would cost memory for ever.
* Migrations are named statements that only add (expand first, contract a release later); each is one transaction.

Source: architecture.md 5 (Journal), reliability-security.md 1.2.
"""

from __future__ import annotations

import importlib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

BUSY_TIMEOUT_MS = 10_000
CACHE_KIB = 512
SYNCHRONOUS_FULL = 2
CHILD_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a store's schema; a name, once released, is never changed."""

    name: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """A kind of store file: its migration set's name and the steps in order."""

    name: str
    migrations: tuple[Migration, ...]


def open_store(path: Path, store: Store) -> sqlite3.Connection:
    """The one writer's connection, in autocommit mode (use `transaction`). Raises ConfigError when the schema is not
    up to date or the file can not be opened."""
    connection = _connect(f"file:{path.resolve()}?mode=rw", path)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or level != SYNCHRONOUS_FULL:
        raise ConfigError("data_dir", str(path.parent), "this file system can not keep a durable journal; choose a local disk")
    connection.execute("PRAGMA foreign_keys = ON")
    _require_migrated(connection, path, store)
    return connection


def ready_store(path: Path, store: Store, store_reference: str) -> sqlite3.Connection:
    """`open_store`, after bringing a missing or old file up to date in a child process. Raises ConfigError."""
    try:
        return open_store(path, store)
    except ConfigError:
        path.parent.mkdir(parents=True, exist_ok=True)
        migrate_in_child(path, store_reference)
        return open_store(path, store)


def open_reader(path: Path, store: Store) -> sqlite3.Connection:
    """A read-only connection for another process (display, status, ledger)."""
    connection = _connect(f"file:{path.resolve()}?mode=ro", path)
    _require_migrated(connection, path, store)
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """BEGIN IMMEDIATE, then commit, or roll back when the block raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        if connection.in_transaction:  # a full disk has rolled back already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def migrate(path: Path, store: Store) -> None:
    """Create the file or bring it up to date. Heavy import: call it in a short-lived process."""
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    steps = Migrations(store.name)
    for migration in store.migrations:
        steps(name=migration.name)(_apply(migration))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        steps.apply(Database(connection))
    finally:
        connection.close()


def migrate_in_child(path: Path, store_reference: str) -> None:
    """`migrate` in a process of its own; `store_reference` is `module:NAME` of a Store. Raises ConfigError."""
    import subprocess  # seldom needed, and never while the agent runs

    command = [sys.executable, "-m", __name__, str(path), store_reference]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise ConfigError("data_dir", str(path), f"the store could not be brought up to date: {reason}")


def _apply(migration: Migration):  # type: ignore[no-untyped-def]
    def run(database) -> None:  # type: ignore[no-untyped-def]
        for statement in migration.statements:
            database.execute(statement)

    return run


def _connect(uri: str, path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    except sqlite3.OperationalError as error:
        raise ConfigError("data_dir", str(path), f"{error}; run 'gridtally-dcu init' first") from None
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _require_migrated(connection: sqlite3.Connection, path: Path, store: Store) -> None:
    try:
        rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = ?", (store.name,))
        applied = {row[0] for row in rows}
    except sqlite3.DatabaseError:
        applied = set()
    absent = [m.name for m in store.migrations if m.name not in applied]
    if absent:
        connection.close()
        raise ConfigError("data_dir", str(path), f"the store lacks {', '.join(absent)}; run 'gridtally-dcu init'")


def _main(path: str, store_reference: str) -> None:
    module, _, name = store_reference.partition(":")
    migrate(Path(path), getattr(importlib.import_module(module), name))


if __name__ == "__main__":
    _main(*sys.argv[1:])
