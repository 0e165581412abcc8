"""Ad-hoc questions in SQL, read-only, on both engines alike: `gridtally-mdm sql "SELECT ..."`.

* The view `interval_value` has a row an interval of every block: shard, day, channel_no, version, source, approved, stands (the newest
  approved version), start_ms, period_s, value (NULL where it is missing), quality.
* On PostgreSQL it is a view over a function of the store (store/postgres.py). SQLite gets two functions and a temporary view with the
  connection, so that nothing in the file depends on a function other programs do not have.
* Nothing can be written: SQLite opens the file `mode=ro`, PostgreSQL a READ ONLY transaction, which is rolled back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from gridtally_cloud.store.blocks import value_view
from gridtally_cloud.store.db import BUSY_TIMEOUT_MS, Database
from gridtally_native import decode_block
from gridtally_shared.errors import ConfigError

Row = Sequence[Any]

VALUE_VIEW = value_view(", json_each(gridtally_block(b.blob)) x", "x.key", "gridtally_quality(b.quality, x.key)", "CREATE TEMP")


def gridtally_block(block: bytes) -> str:
    """The values of a block as a JSON array, null where one is missing; read it with json_each()."""
    values, present = decode_block(block)
    return json.dumps([value if there else None for value, there in zip(values, present, strict=True)])


def gridtally_quality(quality: bytes, i: int) -> int:
    """The quality word of an interval of a block, 0 where none is kept."""
    return int.from_bytes(quality[2 * i : 2 * i + 2], "little")


def prepare_sqlite(connection: sqlite3.Connection) -> None:
    """The functions and the view, for this connection."""
    connection.create_function("gridtally_block", 1, gridtally_block, deterministic=True)
    connection.create_function("gridtally_quality", 2, gridtally_quality, deterministic=True)
    connection.execute(VALUE_VIEW)


def ask(db: Database, question: str) -> Iterator[Row]:
    """The names of the columns, then the rows. Raises ConfigError for what SQL can not answer, and for what would write."""
    yield from (_ask_sqlite if db.is_sqlite else _ask_postgres)(db, question)


def _ask_sqlite(db: Database, question: str) -> Iterator[Row]:
    file = make_url(db.url).database
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_MS / 1000)) as connection:
        try:
            prepare_sqlite(connection)
            cursor = connection.execute(question)
            yield [column[0] for column in cursor.description or ()]
            yield from cursor
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _refused(question, str(error)) from None


def _ask_postgres(db: Database, question: str) -> Iterator[Row]:
    try:
        with db.engine.connect().execution_options(postgresql_readonly=True, stream_results=True) as conn:
            result = conn.exec_driver_sql(question.replace("%", "%%"))
            yield list(result.keys()) if result.returns_rows else []
            yield from result if result.returns_rows else ()
    except DBAPIError as error:
        raise _refused(question, str(error.orig).splitlines()[0]) from None


def _refused(question: str, why: str) -> ConfigError:
    return ConfigError("SQL", question, f"{why}. Only questions are answered here; tables and columns: docs/sql.md")
