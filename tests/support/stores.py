"""A prepared MDM store for a test, on the engine that the run asks for (`GRIDTALLY_STORE`: sqlite, or postgresql).

`keep` holds a store as it is, so that others begin from it (`begun_from`) or go back to it (`put_back`): what takes long to live
through is lived through once.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gridtally_cloud.store import meta
from gridtally_cloud.store.db import Database
from support.required import missing

ON_POSTGRES = os.environ.get("GRIDTALLY_STORE", "sqlite") == "postgresql"


@dataclass(frozen=True, slots=True)
class Kept:
    """`file`: its bytes on SQLite; `name`: the database that keeps it on PostgreSQL."""

    file: bytes = b""
    name: str = ""


def fresh_store(folder: Path) -> Database:
    """On SQLite the file `mdm.db` of `folder`. Skips where PostgreSQL is asked for and not here."""
    if ON_POSTGRES:
        from support import postgres

        if not postgres.is_here():
            missing("postgresql", "PostgreSQL is not installed: apt-get install postgresql")
        return postgres.fresh_database()
    return begun_from(Kept(empty_store()), folder)


@cache
def empty_store() -> bytes:
    """A prepared SQLite store, made once a run: migrations take longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(Path(folder) / "mdm.db")
        meta.prepare(db)
        db.close()
        return (Path(folder) / "mdm.db").read_bytes()


def keep(db: Database) -> Kept:
    """Nobody may be inside a transaction."""
    if not db.is_sqlite:
        from support import postgres

        return Kept(name=postgres.kept_copy(db))
    with closing(sqlite3.connect(_file(db))) as store:
        return Kept(store.serialize())


def begun_from(kept: Kept, folder: Path) -> Database:
    if kept.name:
        from support import postgres

        return postgres.fresh_database(kept.name)
    path = folder / "mdm.db"
    path.write_bytes(kept.file)
    return Database(path)


def put_back(db: Database, kept: Kept) -> None:
    """The store is again what was kept, as after a restore; `db` goes on with it."""
    if kept.name:
        from support import postgres

        postgres.put_back(db, kept.name)
        return
    db.close()
    for end in ("-wal", "-shm", ""):
        Path(f"{_file(db)}{end}").unlink(missing_ok=True)
    _file(db).write_bytes(kept.file)


def _file(db: Database) -> Path:
    return Path(str(db.engine.url.database))
