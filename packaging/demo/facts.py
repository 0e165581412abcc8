"""What the demo shows and reports, read from the real stores: the MDM's, the DCU's, and the simulated meters themselves."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from gridtally_cloud.customers.tables import account, customer
from gridtally_cloud.ingest.tables import checkpoint
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.report import IntervalCount, interval_counts
from gridtally_cloud.store.tables import account_mirror, event, journal_entry, meter, reading_latest, usage_day
from gridtally_shared.errors import ContractError
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from, hash_of
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.quantities import ENERGY_IMPORT, INTERVAL_IMPORT

CONNECTED, DISCONNECTED = EVENTS["supply_connected"].code, EVENTS["supply_disconnected"].code


@dataclass(frozen=True, slots=True)
class SwitchAction:
    """A switch action of a journal that the meter confirmed."""

    account_no: int
    at_ms: int
    close: bool


def status(path: Path) -> dict[str, Any]:
    """The agent's status.json; empty while it is not there."""
    with contextlib.suppress(OSError, ValueError):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
    return {}


def accounts(conn: Connection) -> dict[str, Any]:
    """Rows of accounts by the serial of their meter."""
    query = select(account, meter.c.serial, account_mirror.c.balance_nano, account_mirror.c.seq).select_from(
        account.join(meter, meter.c.meter_no == account.c.meter_no).outerjoin(
            account_mirror, account_mirror.c.account_no == account.c.account_no
        )
    )
    return {row.serial: row for row in conn.execute(query)}


@dataclass(frozen=True, slots=True)
class Home:
    account_no: int
    name: str


def home(conn: Connection, serial: str) -> Home:
    """Whose home hangs behind a meter."""
    account_no = int(accounts(conn)[serial].account_no)
    query = select(customer.c.name).join(account, account.c.customer_no == customer.c.customer_no).where(account.c.account_no == account_no)
    return Home(account_no, str(conn.execute(query).scalar_one()))


def counts(conn: Connection, from_ms: int, to_ms: int) -> tuple[IntervalCount, ...]:
    return interval_counts(conn, from_ms, to_ms, INTERVAL_IMPORT.code)


def stored_intervals(conn: Connection) -> int:
    """A quick count for the live view."""
    return sum(conn.execute(select(usage_day.c.present)).scalars())


def switch_actions(conn: Connection) -> tuple[SwitchAction, ...]:
    """Every confirmed cut and restore in the mirrored journals."""
    rows = conn.execute(select(journal_entry.c.body).where(journal_entry.c.kind == Kind.SWITCH)).scalars()
    return tuple(_actions(bytes(body) for body in rows))


def _actions(bodies: Iterable[bytes]) -> Iterator[SwitchAction]:
    for body in bodies:
        entry = entry_from(body)
        evidence = evidence_of(entry)
        if isinstance(evidence, SwitchEvidence) and evidence.result == "done":
            yield SwitchAction(entry.account_no, entry.at_ms, evidence.close)


def dark_homes(conn: Connection) -> tuple[tuple[int, int], ...]:
    """(account, since) of homes whose last confirmed action was a cut."""
    last: dict[int, SwitchAction] = {}
    for action in sorted(switch_actions(conn), key=lambda a: a.at_ms):
        last[action.account_no] = action
    return tuple((a.account_no, a.at_ms) for a in last.values() if not a.close)


def registers(conn: Connection) -> dict[str, tuple[int, int]]:
    """Newest import register by serial: (time, Wh)."""
    r = reading_latest.c
    query = select(meter.c.serial, r.at_ms, r.value).select_from(reading_latest.join(meter, meter.c.meter_no == r.meter_no))
    return {row.serial: (row.at_ms, row.value) for row in conn.execute(query.where(r.quantity == ENERGY_IMPORT.code))}


def happenings(conn: Connection, most: int) -> Sequence[Any]:
    query = select(event.c.at_ms, event.c.code, event.c.detail, meter.c.serial).select_from(
        event.outerjoin(meter, meter.c.meter_no == event.c.meter_no)
    )
    return conn.execute(query.order_by(event.c.at_ms.desc()).limit(most)).all()


# ---- one home's journal, as its concentrator keeps it ----------------------------------------------------------


def home_entries(money_db: Path, account_no: int, after_seq: int) -> tuple[LedgerEntry, ...]:
    """Entries of one account behind `after_seq`, in order; none while the store is not there yet."""
    query = "SELECT body FROM journal WHERE account_no = ? AND seq > ? ORDER BY seq"
    return tuple(entry_from(bytes(body)) for (body,) in _edge_rows(money_db, query, account_no, after_seq))


def message_no(money_db: Path, account_no: int, code: str, at_ms: int) -> int:
    """The number of a message at the edge, 0 where it is not there."""
    query = "SELECT message_no FROM message WHERE account_no = ? AND code = ? AND at_ms = ?"
    return int(next((number for (number,) in _edge_rows(money_db, query, account_no, code, at_ms)), 0))


def carrier(money_db: Path, account_no: int, gseq: int) -> str:
    """What brought an instrument first: mqtt, keypad or file."""
    query = "SELECT carrier FROM instrument WHERE account_no = ? AND gseq = ?"
    return str(next((name for (name,) in _edge_rows(money_db, query, account_no, gseq)), ""))


def _edge_rows(money_db: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(f"file:{money_db}?mode=ro", uri=True)) as store:
        return store.execute(query, values).fetchall()


def checkpoints(conn: Connection) -> int:
    """How many checkpoints of the journals the cloud has checked and countersigned."""
    return int(conn.execute(select(func.count()).where(checkpoint.c.state == "good")).scalar_one())


# ---- the edge's journal against the cloud's mirror --------------------------------------------------------------


def edge_journal(money_db: Path) -> dict[tuple[int, int, int], bytes]:
    """Every entry of the edge's own journal: (account, epoch, seq) -> bytes, straight from its file."""
    rows = _edge_rows(money_db, "SELECT account_no, epoch, seq, body FROM journal")
    return {(a, e, s): bytes(body) for a, e, s, body in rows}


def ledger_mismatches(db: Database, money_db: Path) -> list[str]:
    """Entries that differ or are on one side only, and every equation of the cloud's books that does not hold."""
    edge = edge_journal(money_db)
    with db.read() as conn:
        query = select(journal_entry.c.account_no, journal_entry.c.epoch, journal_entry.c.seq, journal_entry.c.body)
        cloud = {(r.account_no, r.epoch, r.seq): bytes(r.body) for r in conn.execute(query)}
        books = [str(m) for m in reconcile(conn)]
    names = sorted(edge.keys() | cloud.keys())
    return books + [f"entry {key}: {_difference(edge.get(key), cloud.get(key))}" for key in names if edge.get(key) != cloud.get(key)]


def _difference(edge: bytes | None, cloud: bytes | None) -> str:
    if edge is None or cloud is None:
        return f"only in the {'cloud' if edge is None else 'edge'}"
    with contextlib.suppress(ContractError):
        return f"paid {entry_from(edge).postings} at the edge, {entry_from(cloud).postings} in the cloud"
    return f"hashes {hash_of(edge).hex()[:12]} and {hash_of(cloud).hex()[:12]}"
