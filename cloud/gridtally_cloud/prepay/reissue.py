"""What of an epoch's instruments goes on in the next one, at another concentrator (prepayment.md 5.8: pending instruments reissued).

* Money is not issued again one by one: what the mirror does not show as used is part of the opening credit, or of the lease
  that comes along.
* A debt that was not applied is ordered again. One that was applied is in the mirror, and carried over from there.
* A change of mode that the meter refused is over and does not go on.
* Of the orders that stand until another one comes (limit, unbalance, each hold, each protection, mode, tariff, keypad key) the newest
  one goes on, applied or not: the new concentrator knows nothing of them. What a person on site did with a hold or a limit, and a limit
  that came as a command, goes on too. A test, a cleared tamper counter, or an order to give back what a
  wallet lent, goes on while it waits.

Pure but for reading the instruments and what was ordered there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, select

from gridtally_cloud.prepay.held import NOT_YET, Place, given_there, places_of
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.prepay.withdrawn import withdrawn
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.instruments.details import Detail, HoldOrder, LimitOrder
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.ledger.standing_orders import standing
from gridtally_shared.records import dataclass
from gridtally_shared.signing import open_unverified

T = InstrumentType
Name = tuple[InstrumentType, str]


@dataclass(frozen=True, slots=True)
class Again:
    """An instrument to be issued once more. `amount_nano` is 0 but for a debt and a correction."""

    type: InstrumentType
    amount_nano: int
    detail: Detail | None


STANDING: dict[InstrumentType, Callable[[Any], str]] = {
    T.LIMIT_SET: lambda detail: "",
    T.UNBALANCE_SET: lambda detail: "",
    T.MODE_SET: lambda detail: "",
    T.KEY_ROTATE: lambda detail: "",
    T.HOLD: lambda detail: str(detail.reason),
    T.PROTECT: lambda detail: str(detail.reason),
    T.TARIFF_LOAD: lambda detail: f"{detail.tariff_id}/{detail.version}",
}
"""Types whose order stands until the next one of the same name."""
GIVEN_THERE: dict[type, InstrumentType] = {HoldOrder: T.HOLD, LimitOrder: T.LIMIT_SET}
NOTHING: Place = (0, 0)
WAITING = frozenset({T.DEBT, T.CORRECTION, T.TAMPER_CLEAR, T.TEST, T.LEASE_RETURN})
"""Types that go on only while they were not applied."""


def going_on(conn: Connection, account_no: int, epoch: int, state: LedgerState) -> tuple[Again, ...]:
    """What is issued again after `epoch`, whose mirror is `state`; in the order of its numbers."""
    i = instrument.c
    rows = conn.execute(select(i.envelope).where(i.shard == SHARD, i.account_no == account_no, i.epoch == epoch).order_by(i.gseq))
    refused = withdrawn(conn, account_no, epoch)
    found: dict[Name, Again] = {}
    ordered: dict[Name, Place] = {}
    places = places_of(conn, account_no, epoch)
    for (envelope,) in rows:
        made = decode(Instrument, open_unverified(bytes(envelope))[1])
        name = _name(made, state)
        if name is not None and made.gseq in refused:
            found.pop(name, None)
        elif name is not None:
            found.pop(name, None)
            ordered[name] = places.get(made.gseq, (NOT_YET, made.gseq))
            found[name] = Again(name[0], made.amount_nano, detail_of(made))
    _follow_there(conn, account_no, epoch, found, ordered)
    return tuple(found.values())


def _follow_there(conn: Connection, account_no: int, epoch: int, found: dict[Name, Again], ordered: dict[Name, Place]) -> None:
    """What was ordered at the box, or by a command, after the instrument goes on: a hold or limit that was lifted is gone, one that was set
    stands."""
    for place, order in given_there(conn, account_no, epoch):
        kind = GIVEN_THERE.get(type(order))
        name = (kind, STANDING[kind](order)) if kind is not None else None
        if kind is not None and name is not None and place > ordered.get(name, NOTHING):
            found.pop(name, None)
            if standing(kind, order).value:
                found[name] = Again(kind, 0, order)


def _name(made: Instrument, state: LedgerState) -> Name | None:
    """Under which name it goes on; None when it does not."""
    kind = T(made.type)
    if kind in STANDING:
        return kind, STANDING[kind](detail_of(made))
    return (kind, str(made.gseq)) if kind in WAITING and not state.used.is_used(made.gseq) else None
