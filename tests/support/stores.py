"""A prepared, empty MDM store for a test, on the engine that the run asks for (`GRIDTALLY_STORE`: sqlite, or postgresql)."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

from gridtally_cloud.store import meta
from gridtally_cloud.store.db import Database
from support.required import missing

ON_POSTGRES = os.environ.get("GRIDTALLY_STORE", "sqlite") == "postgresql"


def fresh_store(folder: Path) -> Database:
    """On SQLite the file `mdm.db` of `folder`. Skips where PostgreSQL is asked for and not here."""
    if ON_POSTGRES:
        from support import postgres

        if not postgres.is_here():
            missing("postgresql", "PostgreSQL is not installed: apt-get install postgresql")
        return postgres.fresh_database()
    path = folder / "mdm.db"
    path.write_bytes(empty_store())
    return Database(path)


@cache
def empty_store() -> bytes:
    """A prepared SQLite store, made once a run: migrations take longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(Path(folder) / "mdm.db")
        meta.prepare(db)
        db.close()
        return (Path(folder) / "mdm.db").read_bytes()
