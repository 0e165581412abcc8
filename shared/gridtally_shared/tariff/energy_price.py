"""What energy costs, what is net of what was given back, and what the power factor adds. Pure.

* Net metering: import less export less what was carried, of each rate's periods; below zero nothing is charged and the rest is carried
  on. At the end of the settlement year, and of the service, what is carried is paid at its price and the count begins anew.
* The power factor is kWh / kVAh of the version's part of a cycle, known when all its use is.

Source: mdm.md C.1 (net metering, power factor).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from fractions import Fraction

from gridtally_shared.tariff.frame import Draft, Frame, Run, Span, floor
from gridtally_shared.tariff.terms import PPM, Energy, Every, Measure, Net, Places, PowerFactor, Rate, Slab

CARRIED = "carried"
UNITY = 10_000
"""A power factor of 1."""


def counted(span: Span, periods: Sequence[str], measure: Measure) -> int:
    return sum(span.wh.get((p, measure.value), 0) for p in periods or span.frame.version.periods)


def energy(item: Energy, span: Span, run: Run, places: Places | None) -> Iterator[Draft]:
    unit = "VAh" if item.measure is Measure.APPARENT else "Wh"
    for rate in item.rates:
        measure = item.measure.value
        used = sum(span.wh.get((p, measure), 0) for p in rate.periods or span.frame.version.periods)
        for number, quantity, price in _slabs(rate, item, span.frame, used):
            yield Draft(quantity * price, quantity, unit, price, "k" + unit, "+".join(rate.periods), number)


def _slabs(rate: Rate, item: Energy | Net, frame: Frame, used: int) -> Iterator[tuple[int, int, int]]:
    """Number, Wh and price of each slab that holds some of the energy."""
    if len(rate.slabs) == 1:
        yield 0, used, rate.slabs[0].price
        return
    widen: Fraction | int = frame.room if item.every is Every.MONTH else frame.until - frame.first
    ends = [floor(slab.until * widen) if slab.until is not None else used for slab in rate.slabs]
    if not item.telescopic:
        number = next(i for i, end in enumerate(ends) if used <= end or rate.slabs[i].until is None)
        yield number + 1, used, rate.slabs[number].price
        return
    yield from _telescoped(rate.slabs, ends, used)


def _telescoped(slabs: Sequence[Slab], ends: Sequence[int], used: int) -> Iterator[tuple[int, int, int]]:
    below = 0
    for number, (slab, end) in enumerate(zip(slabs, ends, strict=True), 1):
        quantity = min(used, end) - below
        if quantity > 0:
            yield number, quantity, slab.price
            below += quantity

# ---- net metering ---------------------------------------------------------------------------------------------


def net(item: Net, span: Span, run: Run, places: Places | None) -> Iterator[Draft]:
    """Each rate for itself: what is net of what was given back is charged, what was given more is carried on."""
    settles = span.ended and _settles(item.true_up_month, span)
    for rate in item.rates:
        name = f"{CARRIED} {item.code} {'+'.join(rate.periods)}"
        rest = counted(span, rate.periods, Measure.IMPORT) - counted(span, rate.periods, Measure.EXPORT) - run.remainders.get(name, 0)
        period = "+".join(rate.periods)
        for number, quantity, price in _slabs(rate, item, span.frame, max(0, rest)):
            yield Draft(quantity * price, quantity, "Wh", price, "kWh", period, number, kind="net")
        left = max(0, -rest)
        if settles and left:
            yield Draft(-left * item.true_up_price, left, "Wh", item.true_up_price, "kWh", period, kind="true_up")
        elif left:
            yield Draft(0, left, "Wh", 0, "kWh", period, kind=CARRIED)
        run.remainders[name] = 0 if settles else left


def _settles(month: int, span: Span) -> bool:
    """Whether a settlement year ends within this cycle, or the service does; only the last part of a cycle settles."""
    cycle, until = span.frame.cycle, span.frame.until
    if span.account.ends_day == until or not month:
        return span.account.ends_day == until
    marks = (date(year, month, 1).toordinal() for year in range(date.fromordinal(cycle.first).year, date.fromordinal(cycle.until).year + 1))
    return until == cycle.until and any(cycle.first < mark <= cycle.until for mark in marks)


# ---- power factor ---------------------------------------------------------------------------------------------


def power_factor(item: PowerFactor, span: Span, run: Run, places: Places | None) -> Iterator[Draft]:
    """Percent of its bases by how far the power factor lies below or above its bounds; nothing where nothing was used."""
    apparent = counted(span, (), Measure.APPARENT)
    if not span.ended or not apparent:
        return
    factor = _rounded_factor(counted(span, (), Measure.IMPORT), apparent, item.places)
    ppm = _percent_of(item.penalties, factor, item.each, -1) - _percent_of(item.incentives, factor, item.each, 1)
    base = sum(run.amounts[code] for code in item.bases)
    if ppm:
        shown = f"{factor // UNITY}.{factor % UNITY:04d}"[: 2 + item.places]
        yield Draft(Fraction(base * ppm, PPM), base, "money", ppm, "%", shown)


def _rounded_factor(active: int, apparent: int, digits: int) -> int:
    """In ten-thousandths, half up at `digits`; never above 1."""
    step: int = UNITY // 10**digits
    return min(UNITY, (2 * active * UNITY + apparent * step) // (2 * apparent * step) * step)


def _percent_of(bounds: tuple[Slab, ...], factor: int, each: int, side: int) -> int:
    """`bounds` outward from 1 step to the next. Without `each` the percent of the furthest one passed; with it the percent for each whole
    step within each band, added up."""
    passed = [b for b in bounds if (factor < (b.until or 0) if side < 0 else factor >= (b.until or 0))]
    if not each or not passed:
        return passed[-1].price if passed else 0
    ends = [*(b.until or 0 for b in passed[1:]), factor]
    return sum(b.price * (abs(end - (b.until or 0)) // each) for b, end in zip(passed, ends, strict=True))
