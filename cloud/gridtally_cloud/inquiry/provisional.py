"""The bill to now: what a postpaid account would be charged if its bill ended here. Nothing is issued, nothing is posted.

* It is the postpaid bill (billing/postpaid.py) with the same opening, payments and terms. Its energy is priced interval by interval, each
  in the period in which it was used, where the issued bill has two register readings.
* It ends where the known consumption ends; intervals that are missing cost nothing here and will on the real bill.

Source: seed 003, step 6; SMT-6; mdm.md C.1 (what-if bill).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from gridtally_cloud.billing.charge_lines import Charged, charge_lines
from gridtally_cloud.billing.model import Bill, BillKind, Line, LineKind
from gridtally_cloud.billing.postpaid import BillInputs
from gridtally_cloud.billing.rounding import rounded_bill
from gridtally_cloud.store.intervals import IntervalSeries
from gridtally_shared.tariff.engine import advance
from gridtally_shared.tariff.running import Running, begun, parts_of, used
from gridtally_shared.tariff.use import Series


def provisional_bill(inputs: BillInputs, series: IntervalSeries) -> Bill:
    """The bill of [from_ms, to_ms) of the inputs with the intervals of `series` in it. Raises ConfigError where the tariff needs what is
    not known."""
    paid = tuple(Line(LineKind.PAYMENT if p.amount_nano < 0 else LineKind.REFUND, p.amount_nano, 0, p.at_ms, p.at_ms, reference=p.reference)
                 for p in inputs.paid)  # fmt: skip
    lines = (*paid, *charge_lines(_charged(inputs, series), 1), *inputs.added)
    first, last = inputs.stops[-2].reading, inputs.stops[-1].reading
    closing_nano = inputs.arrears_nano + sum(line.amount_nano for line in lines)
    return rounded_bill(Bill(
        BillKind.BILL, inputs.party, inputs.from_ms, inputs.to_ms, inputs.arrears_nano, lines, closing_nano,
        last.register_wh - first.register_wh, inputs.days, inputs.quality,
    ))  # fmt: skip


def _charged(inputs: BillInputs, series: IntervalSeries) -> Iterator[Charged]:
    running = _opened(inputs)
    end_ms = inputs.stops[-1].at_ms
    account, state = running.terms.account, running.state
    step = advance(inputs.plan, account, state, _runs(series, state.counted_ms, end_ms), max(state.until_ms, end_ms), end_ms)
    yield from (Charged(line, end_ms, False) for line in step.lines)


def _opened(inputs: BillInputs) -> Running:
    """The account as the bills before this one left it."""
    running = begun(inputs.plan, inputs.terms, inputs.stops[0].at_ms, inputs.days_from)
    for first, last in pairwise(inputs.stops[:-1]):
        for part in parts_of(inputs.plan, first.at_ms, last.at_ms, last.reading.register_wh - first.reading.register_wh):
            running, _ = used(inputs.plan, running, part.from_ms, part.to_ms, part.wh)
    return running


def _runs(series: IntervalSeries, from_ms: int, to_ms: int) -> Iterator[Series]:
    """The known intervals as series without holes."""
    step = series.period_s * 1000
    values: list[int] = []
    start_ms = series.start_ms
    for i, value in enumerate(series.values):
        at_ms = series.start_ms + i * step
        if series.present[i] and at_ms >= from_ms and at_ms + step <= to_ms:
            start_ms = start_ms if values else at_ms
            values.append(value)
        elif values:
            yield Series(start_ms, step, values)
            values = []
    if values:
        yield Series(start_ms, step, values)
