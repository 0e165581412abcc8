"""Orders that stand on an account until another one comes, by what its journal says of them. Pure.

* A hold, a protection, a limit, an unbalance limit and a way of paying stand; whoever gave one (an instrument, a command, a person on
  site, a configuration that drops a hold only a person lifts), its entry holds it in `InstrumentEvidence.order`.
* So a box whose disk was put back to an older image, and one that comes in place of another, know what stands: the journal tells them.
* What was ordered last of a name stands. Nothing of it is known from an entry that says it was refused.

Source: prepayment.md T27, 5.3, 5.8; safety.md 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments import details as d
from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.ledger.evidence import InstrumentEvidence, evidence_of
from gridtally_shared.records import dataclass

T = InstrumentType
HOLD, PROTECT = "hold:", "protect:"
LIMIT_W, UNBALANCE_MA, MODE = "limit_w", "unbalance_ma", "mode"
Stands = d.HoldOrder | d.ProtectOrder | d.LimitOrder | d.UnbalanceOrder | d.ModeOrder


@dataclass(frozen=True, slots=True)
class StandingOrder:
    """Under `name` stands `value`, until `until_ms` (0: until it is lifted). `gseq` is the instrument's number, 0 of another sender."""

    name: str
    value: int
    until_ms: int = 0
    gseq: int = 0


FORMS: dict[InstrumentType, tuple[type[Any], Callable[[Any], tuple[str, int, int]]]] = {
    T.HOLD: (d.HoldOrder, lambda o: (HOLD + o.reason, int(o.on), 0)),
    T.PROTECT: (d.ProtectOrder, lambda o: (PROTECT + o.reason, int(o.on), o.until_ms)),
    T.LIMIT_SET: (d.LimitOrder, lambda o: (LIMIT_W, o.limit_w, o.until_ms)),
    T.UNBALANCE_SET: (d.UnbalanceOrder, lambda o: (UNBALANCE_MA, o.limit_ma, 0)),
    T.MODE_SET: (d.ModeOrder, lambda o: (MODE, o.mode, 0)),
}


def order_in(said: InstrumentEvidence) -> Stands | None:
    """The order an entry's evidence holds; None where nothing stands by it."""
    kind = next((kind for kind in FORMS if kind == said.type), None)
    if kind is None or not said.order:
        return None
    try:
        order: Stands = decode(FORMS[kind][0], said.order)
    except ContractError:
        return None
    return order


def standing(kind: int, order: Stands, gseq: int = 0) -> StandingOrder:
    """What stands by an order of this type."""
    return StandingOrder(*FORMS[InstrumentType(kind)][1](order), gseq)


def evidence_with(kind: InstrumentType, order: Stands, seen: str, by: str = "", reason: str = "") -> InstrumentEvidence:
    """The evidence of an order that stands from here on."""
    return InstrumentEvidence(kind, seen=seen, by=by, reason=reason, order=encode(order))


def order_of_entry(entry: LedgerEntry) -> Stands | None:
    """The order that stands since an entry; None for one that orders nothing, or can not be read."""
    said = _evidence(entry)
    return order_in(said) if said is not None else None


def said_by(entry: LedgerEntry) -> StandingOrder | None:
    """The same under its name."""
    said, order = _evidence(entry), order_of_entry(entry)
    return standing(said.type, order, entry.gseq or said.gseq) if said is not None and order is not None else None


def _evidence(entry: LedgerEntry) -> InstrumentEvidence | None:
    try:
        said = evidence_of(entry) if entry.kind == Kind.CONTROL else None
    except ContractError:
        return None
    return said if isinstance(said, InstrumentEvidence) else None


def told(entries: Iterable[LedgerEntry]) -> dict[str, StandingOrder]:
    """What stands behind entries, oldest first, by name."""
    return {order.name: order for order in map(said_by, entries) if order is not None}
