"""The billing determinants of a period: every quantity a bill of it rests on, for whoever makes the bill. Nothing is issued.

* Registers at both ends, energy both ways and apparent, each by the tariff's times of use; the highest demand of each demand item; the
  power factor; how good the intervals are. They come out of the same inputs and the same counting as our own bill (`postpaid.py`).
* Where the tariff is billed by the register alone, its movement is all there is to say.

Source: BYPL-2.5; mdm.md C.1.
"""

from __future__ import annotations

from sqlalchemy import Connection

from gridtally_cloud.billing.model import DataQuality, Reading
from gridtally_cloud.billing.postpaid import BillInputs
from gridtally_cloud.billing.rate_registers import are_rates
from gridtally_cloud.billing.store import bill_inputs
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import day_of
from gridtally_shared.tariff.terms import Measure
from gridtally_shared.tariff.use import Counted, count, demands_of

PER_UNIT = 10_000
"""A power factor of 1, in ten-thousandths."""
HOUR_MIN = 60


@dataclass(frozen=True, slots=True)
class Used:
    """Energy of one time of use ('all' where the tariff has none), of one measure."""

    period: str
    measure: str
    wh: int


@dataclass(frozen=True, slots=True)
class HighestDemand:
    """The highest power of a demand item in one time of use, rounded down to the watt (or VA)."""

    item: str
    period: str
    measure: str
    window_min: int
    power_w: int


@dataclass(frozen=True, slots=True)
class Determinants:
    """`import_wh` is what a bill charges; `power_factor` in ten-thousandths, rounded half up, None without apparent energy. `counted_by` is
    'intervals', 'rate registers' or 'register'."""

    account_no: int
    from_ms: int
    to_ms: int
    days: int
    contract_w: int
    first: Reading
    last: Reading
    counted_by: str
    import_wh: int
    used: tuple[Used, ...]
    demands: tuple[HighestDemand, ...]
    power_factor: int | None
    quality: DataQuality

    def total(self, measure: Measure) -> int:
        return sum(u.wh for u in self.used if u.measure == measure.value)


def determinants(conn: Connection, account_no: int, from_ms: int, to_ms: int) -> Determinants:
    """Raises RefusedCommand where a bill of the period would be refused for what is missing."""
    return of_inputs(bill_inputs(conn, account_of(conn, account_no), from_ms, to_ms))


def of_inputs(inputs: BillInputs) -> Determinants:
    """Pure."""
    counted = _counted(inputs)
    used: dict[tuple[str, str], int] = {}
    for (_, _, period, measure), wh in counted.cells.items():
        used[period, measure] = used.get((period, measure), 0) + wh
    rows = tuple(Used(period, measure, wh) for (period, measure), wh in sorted(used.items()))
    first, last = inputs.stops[-2], inputs.stops[-1]
    days = day_of(last.at_ms - 1, inputs.plan.zone) - day_of(first.at_ms, inputs.plan.zone) + 1
    return Determinants(
        inputs.party.account_no, first.at_ms, last.at_ms, days, inputs.terms.contract_w, first.reading, last.reading,
        _counted_by(inputs), inputs.used_wh, rows, _demands(inputs, counted), _power_factor(rows), inputs.quality,
    )  # fmt: skip


def _counted(inputs: BillInputs) -> Counted:
    counted = Counted()
    for series in inputs.use[-1] if inputs.use else ():
        count(inputs.plan, inputs.terms.account, counted, series)
    return counted


def _counted_by(inputs: BillInputs) -> str:
    series = inputs.use[-1] if inputs.use else ()
    return "rate registers" if are_rates(series) else "intervals" if series else "register"


def _demands(inputs: BillInputs, counted: Counted) -> tuple[HighestDemand, ...]:
    """Versions share the codes of their items: the highest of all counts."""
    items = {item.code: item for _, item in demands_of(inputs.plan)}
    highest: dict[tuple[str, str], int] = {}
    for (_, _, code, period), wh in counted.peaks.items():
        highest[code, period] = max(highest.get((code, period), 0), wh * HOUR_MIN // items[code].window_min)
    return tuple(HighestDemand(code, period, items[code].measure.value, items[code].window_min, power_w)
                 for (code, period), power_w in sorted(highest.items()))  # fmt: skip


def _power_factor(rows: tuple[Used, ...]) -> int | None:
    active, apparent = (sum(row.wh for row in rows if row.measure == m.value) for m in (Measure.IMPORT, Measure.APPARENT))
    return min(PER_UNIT, (2 * active * PER_UNIT + apparent) // (2 * apparent)) if apparent else None
