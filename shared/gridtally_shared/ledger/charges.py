"""What a charge in the journal is made of: the lines of the tariff engine in an entry's detail, and the pools they go to.

* The lines of an entry add up to what it takes from the consumer; each names quantity, price and amount, so that a person and the
  cloud can follow it. `terms` (none or one) stand with the first charge under them.
* An ENERGY entry prices the use from `from_ms` (0: the entry before it with a register) to the entry's time, a FIXED entry the days
  begun by then. `wh` is the use priced where it is more than the register moved (after provisional charges).
* `provisional`: the time was not believed; a CORRECTION takes such lines back before the use is priced for good. The first of them
  says with `from_ms` up to when it is known that nothing was used: a cycle may have ended since the entry before.

Source: prepayment.md 5.5 to 5.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Final

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, Posting
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.lines import Line
from gridtally_shared.tariff.running import Running, Terms
from gridtally_shared.tariff.running_text import running_from, running_text
from gridtally_shared.tariff.terms import Debt, Demand, Energy, Fixed, Item, Minimum, Net, Percent, Plan, PowerFactor

FORMS: Final = (
    ("energy", "Wh", "kWh"), ("energy", "VAh", "kVAh"), ("percent", "money", "%"), ("fixed", "day", "day"), ("fixed", "time", "month"),
    ("fixed", "W", "kW a month"), ("demand", "W", "kW"), ("minimum", "money", "month"), ("debt", "day", "day"), ("debt", "day", "month"),
    ("cap", "cap", "month"), ("rounding", "money", "month"), ("net", "Wh", "kWh"), ("carried", "Wh", "kWh"), ("true_up", "Wh", "kWh"),
    ("power_factor", "money", "%"),
)  # fmt: skip
"""Kind, unit and per of a line by its number on the wire; only added to."""
_NUMBER = {form: number for number, form in enumerate(FORMS)}


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """A line of the engine. `form`: its place in FORMS; `first` and `until` 0: those of the record."""

    code: str = key(0)
    amount_nano: int = key(1)
    quantity: int = key(2, 0)
    rate: int = key(3, 0)
    form: int = key(4, 0)
    period: str = key(5, "")
    slab: int = key(6, 0)
    factor: str = key(7, "1")
    first: int = key(8, 0)
    until: int = key(9, 0)


@dataclass(frozen=True, slots=True)
class ChargeRecord:
    """`first` and `until`: the days of the version's part of the cycle most lines belong to."""

    first: int = key(0, 0)
    until: int = key(1, 0)
    lines: tuple[ChargeLine, ...] = key(2, ())
    from_ms: int = key(3, 0)
    wh: int = key(4, 0)
    terms: tuple[Terms, ...] = key(5, ())
    provisional: bool = key(6, False)


def record_of(lines: Sequence[Line], from_ms: int = 0, wh: int = 0, provisional: bool = False) -> ChargeRecord:
    first, until = (lines[-1].first, lines[-1].until) if lines else (0, 0)
    return ChargeRecord(first, until, tuple(_wire(line, first, until) for line in lines), from_ms, wh, (), provisional)


def _wire(line: Line, first: int, until: int) -> ChargeLine:
    days = (0, 0) if (line.first, line.until) == (first, until) else (line.first, line.until)
    form, factor = _NUMBER[line.kind, line.unit, line.per], "1" if line.factor == 1 else str(line.factor)
    return ChargeLine(line.code, line.amount_nano, line.quantity, line.rate, form, line.period, line.slab, factor, *days)


def lines_of(record: ChargeRecord) -> tuple[Line, ...]:
    """The engine's lines again. Raises ContractError for a form this version does not know."""
    return tuple(_line(line, record) for line in record.lines)


def _line(line: ChargeLine, record: ChargeRecord) -> Line:
    try:
        kind, unit, per = FORMS[line.form]
        return Line(line.code, kind, line.first or record.first, line.until or record.until, line.quantity, unit, line.rate, per,
                    line.amount_nano, line.period, line.slab, Fraction(line.factor))  # fmt: skip
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise ContractError(f"charge line {line.code}: {error}") from None


def charge_of(entry: LedgerEntry) -> ChargeRecord | None:
    """What a charge is made of; None for an entry of another kind, for one an instrument led to (a signed correction), and for one from
    before lines were kept. Raises ContractError."""
    return decode(ChargeRecord, entry.detail) if entry.kind in CHARGES and entry.detail and not entry.gseq else None


CHARGES: Final = frozenset({Kind.ENERGY, Kind.FIXED, Kind.CORRECTION})


def detail_of(record: ChargeRecord) -> bytes:
    return encode(record)


@dataclass(frozen=True, slots=True)
class Opening:
    """The detail of an OPEN entry whose epoch goes on with the open cycle of the one before: the running charge as text."""

    running: str = key(0)


def opening_detail(running: Running) -> bytes:
    return encode(Opening(running_text(running)))


def opened_with(entry: LedgerEntry) -> Running | None:
    """The charge an OPEN entry goes on with; None for one that begins anew. Raises ContractError."""
    return running_from(decode(Opening, entry.detail).running) if entry.kind == Kind.OPEN and entry.detail else None


# ---- pools ----------------------------------------------------------------------------------------------------

_POOLS: Final[dict[type[Item], Pool]] = {
    Energy: Pool.ENERGY, Fixed: Pool.FIXED, Minimum: Pool.FIXED, Demand: Pool.DEMAND, Percent: Pool.TAX, Debt: Pool.DEBT,
    Net: Pool.ENERGY, PowerFactor: Pool.ENERGY,
}  # fmt: skip


@lru_cache(maxsize=256)
def _pools_of(plan: Plan) -> dict[str, Pool]:
    """A credit on other items is a subsidy; energy given back stays with the energy."""
    return {item.code: _pool(item) for version in plan.versions for item in version.items}


def _pool(item: Item) -> Pool:
    return Pool.SUBSIDY if item.credit and isinstance(item, Percent | Fixed) else _POOLS[type(item)]


def pool_of(plan: Plan, line: Line) -> Pool:
    """Where a line's amount goes. What rounds a whole cycle goes with the fixed part."""
    return _pools_of(plan).get(line.code, Pool.FIXED)


def charges_of(plan: Plan, lines: Iterable[Line]) -> tuple[Posting, ...]:
    """Where what the consumer is charged goes; pools that get nothing are left out."""
    found: dict[Pool, int] = {}
    for line in lines:
        pool = pool_of(plan, line)
        found[pool] = found.get(pool, 0) + line.amount_nano
    return tuple(Posting(pool, amount) for pool, amount in found.items() if amount)
