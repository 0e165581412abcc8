"""What the store knows about itself: its identity (`store_id`, in every receipt) and its schema.

`prepare` creates a new store or upgrades an old one; it is safe to call at every start.
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from gridtally_cloud.store.db import Database, in_turn, insert_new, upsert
from gridtally_cloud.store.tables import store_meta

MIGRATIONS = Path(__file__).with_name("migrations")
HEAD = "r0047"
RESTORED = "restored_ms"
"""The newest revision; a test compares it with the scripts."""


def prepare(db: Database) -> bytes:
    """Bring the schema to this version and give the store its identity. Returns the 16 bytes of `store_id`."""
    with db.write() as conn:
        in_turn(conn, "prepare")
        if revision(conn) != HEAD:
            _upgrade(conn)
        insert_new(conn, store_meta, [{"name": "store_id", "value": os.urandom(16)}])
        return store_id(conn)


def revision(conn: Connection) -> str:
    """The migration the store is at, '' for an empty one."""
    if not inspect(conn).has_table("alembic_version"):
        return ""
    return str(conn.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none() or "")


def _upgrade(conn: Connection) -> None:
    """Alembic is loaded only where there is something to do."""
    from alembic import command as alembic
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    settings.attributes["connection"] = conn
    alembic.upgrade(settings, HEAD)


def store_id(conn: Connection) -> bytes:
    """Sixteen random bytes that name this store for its whole life."""
    return bytes(conn.execute(select(store_meta.c.value).where(store_meta.c.name == "store_id")).scalar_one())


def note_restore(conn: Connection, at_ms: int) -> None:
    """This store was put back from an older copy: it takes another name, at which every edge greets again."""
    upsert(conn, store_meta, {"name": "store_id", "value": os.urandom(16)})
    upsert(conn, store_meta, {"name": RESTORED, "value": str(at_ms).encode()})


def restored_ms(conn: Connection) -> int | None:
    """When the store was put back last; None if it never was."""
    found = conn.execute(select(store_meta.c.value).where(store_meta.c.name == RESTORED)).scalar_one_or_none()
    return int(bytes(found)) if found is not None else None
