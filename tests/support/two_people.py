"""A store in which two customers have a row in every table that `person/held.py` lists, each full of what names them.

Rows are made by the schema, so a new table or column is in them by itself. Nothing is open: both may be erased.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Integer, LargeBinary, Table, insert, select

from gridtally_cloud.person.held import BY_NAME, HELD, Held
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.schema import metadata
from support.stores import ON_POSTGRES, Kept, begun_from, fresh_store, keep

OPENED_MS, AT_MS, CLOSED_MS = 1_700_000_000_000, 1_750_000_000_000, 1_760_000_000_000
NOT_HELD_IN = {"erasure"}
PLANT = {"channel", "dcu"}


@dataclass(frozen=True)
class Someone:
    """`words`: what must be found nowhere afterwards, in any letters."""

    number: int
    name: str
    login: str
    email: str
    phone: str
    address: str

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.name.split(), self.login, self.email, self.phone, self.address)

    @property
    def text(self) -> str:
        return f"{self.name}, {self.address}, {self.phone}, {self.email}"


ZERLINA = Someone(1, "Zerlina Quasthoff", "zerlina.q", "quasthoff@example.org", "+49 171 5550199", "Hinterhaus links, Lindenweg 7")
OMAR = Someone(2, "Omar Benyahia", "omar.b", "benyahia@example.org", "+212 600 555017", "7 Rue des Palmiers")
PEOPLE = (ZERLINA, OMAR)
KEYS = ("customer_no", "account_no", "user_id", "usage_point_no", "meter_no", "channel_no", "payment_no", "wallet_no", "arrangement_no",
        "schedule_no", "method_no", "cmd_id", "order_id", "gateway_order", "bill_no", "token", "login", "dcu")  # fmt: skip
SETTLED: dict[tuple[str, str], Any] = {
    ("account", "mode"): "postpaid", ("account", "closed_ms"): CLOSED_MS, ("account", "holds"): "medical", ("app_user", "role"): "consumer",
    ("usage_point", "zone"): "UTC", ("channel", "period_s"): 3600,
}  # fmt: skip


def two_people(folder: Path) -> Database:
    return begun_from(_full_store(), folder)


@cache
def _full_store() -> Kept:
    """Made once a run."""
    with tempfile.TemporaryDirectory() as folder:
        db = fresh_store(Path(folder))
        _fill(db)
        kept = keep(db)
        db.close()
        return kept


def _fill(db: Database) -> None:
    held = {each.table for each in HELD} - NOT_HELD_IN
    parents = {key.column.table.name for name in held for key in metadata.tables[name].foreign_keys}
    with db.write() as conn:
        for table in metadata.sorted_tables:
            for who in PEOPLE if table.name in held | parents | PLANT else ():
                conn.execute(insert(table).values(row_of(table, BY_NAME.get(table.name), who)))
        if ON_POSTGRES:
            conn.exec_driver_sql("SELECT setval(pg_get_serial_sequence('audit_row', 'audit_no'), 100)")


def row_of(table: Table, held: Held | None, who: Someone) -> dict[str, Any]:
    return {c.name: _value(table, c, held, who) for c in table.c if c.name != "shard"}


def _value(table: Table, column: Any, held: Held | None, who: Someone) -> Any:
    name = column.name
    if (table.name, name) in SETTLED:
        return SETTLED[table.name, name]
    if name in KEYS and not (held and name in held.changes and name not in ("token",)) and name != "login":
        return _key(column, who)
    if isinstance(column.type, Boolean):
        return True
    if isinstance(column.type, Integer):
        return _number(name, who)
    text = _text(table.name, name, held, who)
    return text.encode() if isinstance(column.type, LargeBinary) else text


def _number(name: str, who: Someone) -> int:
    if name.endswith("_ms"):
        return OPENED_MS if name == "opened_ms" else AT_MS
    return 0 if name.endswith("_nano") else who.number


def _key(column: Any, who: Someone) -> Any:
    if isinstance(column.type, Integer):
        return who.number
    text = f"{column.name}-{who.number}"
    return text.encode() if isinstance(column.type, LargeBinary) else text


def _text(table: str, name: str, held: Held | None, who: Someone) -> str:
    of = {kind: getattr(held, kind).split() if held else [] for kind in ("actor", "scrub", "blank", "name", "party", "secret", "null")}
    plain = {"login": who.login, "name": who.name, "email": who.email, "phone": who.phone, "address": who.address}
    if name == "login":
        return who.login
    if name in of["actor"]:
        return f"user:{who.login}" if name == "subject" else f"token:key {who.login}" if name == "taker" else f"consumer:{who.login}"
    if name == "body" and table == "webhook_notice":
        return json.dumps({"topic": "order.opened", "data": {"account_no": who.number, "customer": who.name, "address": who.address}})
    if name in of["party"]:
        return json.dumps({"party": {"customer": who.name, "address": who.address, "account_no": who.number}, "lines": [1, 2]})
    if table in ("customer", "app_user") and name in plain:
        return plain[name]
    if name in of["scrub"]:
        return json.dumps({"seen": who.text}) if name in ("result", "params", "arguments") else f"spoke to {who.text} at {who.number}"
    if table == "api_token" and name == "name":
        return f"key {who.login}"
    return who.text if held and (held.goes or name in (*of["blank"], *of["name"], *of["secret"], *of["null"])) else f"{name}-{who.number}"


def all_rows(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """The whole store."""
    with db.read() as conn:
        return {t.name: [tuple(row) for row in conn.execute(select(t).order_by(*t.primary_key))] for t in metadata.sorted_tables}


def words_left(db: Database, who: Someone) -> list[str]:
    """table.column: word, wherever the store still names somebody."""
    found = []
    with db.read() as conn:
        for table in metadata.sorted_tables:
            for row in conn.execute(select(table)).mappings():
                held = " ".join(_readable(value) for value in row.values()).casefold()
                found += [f"{table.name}: {word}" for word in who.words if word.casefold() in held]
    return found


def _readable(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)
