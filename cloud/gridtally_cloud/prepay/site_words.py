"""Safety and work holds that people set and lift on site at a supply whose account no concentrator runs (safety.md 1, 17): what is said.

* Of an account that is run from here they are written into its journal as they came in (managed_run.py), and count until then from the
  moment they are here.
* Of a meter that nobody pays in advance they are kept here only: the last word on each reason stands.
* Once a concentrator runs the account its own journal says what stands; what was said before is over.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select, update

from gridtally_cloud.prepay.site_tables import site_entry
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import meter
from gridtally_shared.contract.codec import decode
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.details import HoldOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import InstrumentEvidence, SwitchEvidence
from gridtally_shared.ledger.standing_orders import order_in
from gridtally_shared.records import dataclass

REACHED = frozenset({"done", "already"})
_S = site_entry.c


@dataclass(frozen=True, slots=True)
class Word:
    """A hold was set, or lifted. `over`: a concentrator's journal says by now how it stands."""

    meter_no: int
    entry_id: bytes
    reason: str
    on: bool
    over: bool


def waiting(conn: Connection, meter_no: int) -> list[tuple[int, HoldOrder]]:
    """What was said at a supply that is run from here and does not stand in its journal yet, and when it came in; oldest first."""
    found = [(row.received_ms, hold_in(bytes(row.detail))) for row in to_write(conn, meter_no) if row.kind == Kind.CONTROL]
    return [(at_ms, order) for at_ms, order in found if order is not None]


def to_write(conn: Connection, meter_no: int) -> list[Row[Any]]:
    """The entries themselves."""
    return _rows(conn, _S.meter_no == meter_no, _S.written_ms.is_(None), _S.over_ms.is_(None))


def written(conn: Connection, meter_no: int, at_ms: int) -> None:
    """They stand in the journal now."""
    waiting = (_S.shard == SHARD, _S.meter_no == meter_no, _S.written_ms.is_(None), _S.over_ms.is_(None))
    conn.execute(update(site_entry).where(*waiting).values(written_ms=at_ms))


def end_at(conn: Connection, meter_no: int, at_ms: int) -> None:
    """A journal says from now on what stands at this meter."""
    mine = (_S.shard == SHARD, _S.meter_no == meter_no, _S.over_ms.is_(None))
    conn.execute(update(site_entry).where(*mine).values(over_ms=at_ms))


def standing(conn: Connection, meter_no: int) -> tuple[str, ...]:
    """What holds a meter by what was said there."""
    return tuple(sorted(stands_by(_words(conn, _S.meter_no == meter_no))))


def stands_by(words: Iterable[Word]) -> frozenset[str]:
    last = {word.reason: word.on for word in words if not word.over}
    return frozenset(reason for reason, on in last.items() if on)


def said_at(conn: Connection, dcu: str) -> dict[int, list[Word]]:
    """All that was said at the meters of a concentrator, oldest first; those where nothing was said are left out."""
    found: dict[int, list[Word]] = {}
    for word in _words(conn, _S.meter_no.in_(select(meter.c.meter_no).where(meter.c.dcu == dcu))):
        found.setdefault(word.meter_no, []).append(word)
    return found


def moves_since(conn: Connection, meter_no: int, since_ms: int) -> list[tuple[int, bool]]:
    """When the switch was moved for somebody on site, and whether it was closed."""
    rows = _rows(conn, _S.meter_no == meter_no, _S.kind == int(Kind.SWITCH), _S.at_ms > since_ms)
    seen = [(row.at_ms, decode(SwitchEvidence, bytes(row.detail))) for row in rows]
    return [(at_ms, evidence.close) for at_ms, evidence in seen if evidence.result in REACHED]


def hold_in(detail: bytes) -> HoldOrder | None:
    """The hold that an entry sets or lifts; None where it says something else. Raises ContractError."""
    order = order_in(decode(InstrumentEvidence, detail))
    if order is not None and not isinstance(order, HoldOrder):
        raise ContractError(f"on site holds are set and lifted, not {type(order).__name__}")
    return order


def _words(conn: Connection, *where: ColumnElement[bool]) -> list[Word]:
    rows = _rows(conn, _S.kind == int(Kind.CONTROL), *where)
    said = [(row, hold_in(bytes(row.detail))) for row in rows]
    return [Word(r.meter_no, bytes(r.entry_id), order.reason, order.on, r.over_ms is not None) for r, order in said if order is not None]


def _rows(conn: Connection, *where: ColumnElement[bool]) -> list[Row[Any]]:
    return list(conn.execute(select(site_entry).where(_S.shard == SHARD, *where).order_by(_S.meter_no, _S.place)))
