"""What each kind of item costs, from what was counted so far in a cycle: one function a kind, all in one table. Pure.

* Every amount is a function of the counts and of the days begun. A charge is the difference of two such amounts, so any cut of
  a month into readings costs the same (prepayment.md I10).
* An amount that is not a whole nano is rounded down to it, unless the tariff names places. A percentage that is not rounded
  to places hands its remainder on, so its total is the rate on the whole base (I12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from gridtally_shared.tariff.energy_price import counted, energy, net, power_factor
from gridtally_shared.tariff.frame import Draft, Frame, Run, Span, floor
from gridtally_shared.tariff.lines import CAP_SLAB, ONE, Line, total_nano
from gridtally_shared.tariff.terms import (
    PPM,
    Account,
    Debt,
    Demand,
    Energy,
    Every,
    Fixed,
    Item,
    Measure,
    Minimum,
    Net,
    Percent,
    Places,
    PowerFactor,
    Rounding,
    Slab,
    Times,
)  # fmt: skip

HOUR_MIN = 60


def price_span(span: Span, run: Run) -> tuple[Line, ...]:
    """All lines of a version's part of a cycle, in the document's order."""
    run.amounts = {}
    version = span.frame.version
    made: dict[str, list[Line]] = {}
    for item in version.order:
        lines = price_item(item, span, run) if applies(item, span) else []
        made[item.code] = lines
        run.amounts[item.code] = total_nano(lines)
    return tuple(line for item in version.items for line in made[item.code])


def applies(item: Item, span: Span) -> bool:
    if item.needs or item.unless:
        flags = span.account.flags
        if not flags.issuperset(item.needs) or not flags.isdisjoint(item.unless):
            return False
    if item.when is None:
        return True
    used, room = imported(span), span.frame.room
    return used > item.when.over * room and (item.when.up_to is None or used <= item.when.up_to * room)


def imported(span: Span) -> int:
    return counted(span, (), Measure.IMPORT)


def price_item(item: Item, span: Span, run: Run) -> list[Line]:
    places = item.rounding or span.frame.version.rounding
    sign = -1 if item.credit else 1
    frame, drafts = span.frame, PRICES[type(item)](item, span, run, places)
    lines = [_line(item, frame, draft, sign * rounded(draft.exact, places)) for draft in drafts]
    if item.cap is not None:
        over = sign * total_nano(lines) - floor(item.cap * frame.room)
        if over > 0:
            capped = Draft(-over, 1, "cap", item.cap, "month", slab=CAP_SLAB, factor=frame.room, kind="cap")
            lines.append(_line(item, frame, capped, -sign * over))
    return [line for line in lines if line.amount_nano or line.quantity]


def _line(item: Item, frame: Frame, draft: Draft, amount_nano: int) -> Line:
    return Line(item.code, draft.kind or KINDS[type(item)], frame.first, frame.until, draft.quantity, draft.unit, draft.rate, draft.per,
                amount_nano, draft.period, draft.slab, draft.factor)  # fmt: skip


def rounded(amount: Fraction | int, places: Places | None) -> int:
    """To the tariff's places, or down to the nano where it names none."""
    if places is None:
        return floor(amount)
    step: int = 10 ** (9 - places.places)
    whole, rest = divmod(Fraction(amount), step)
    return (int(whole) + _MODES[places.mode](int(whole), rest / step)) * step


_HALF = Fraction(1, 2)
_MODES: dict[Rounding, Callable[[int, Fraction], int]] = {
    Rounding.HALF_UP: lambda whole, rest: rest >= _HALF,
    Rounding.HALF_EVEN: lambda whole, rest: rest > _HALF or (rest == _HALF and whole % 2 == 1),
    Rounding.DOWN: lambda whole, rest: False,
    Rounding.UP: lambda whole, rest: rest > 0,
}


# ---- fixed, minimum and debt ----------------------------------------------------------------------------------


def _times(times: Times, account: Account) -> Fraction | int:
    """What a price is multiplied by: one, or the contract's kW."""
    if times is Times.ONE:
        return 1
    return Fraction(account.contract_w, 1000) if times is Times.KW else -(-account.contract_w // 1000)


def _price_at(slabs: Sequence[Slab], amount: int) -> int:
    return next(s.price for s in slabs if s.until is None or amount <= s.until)


def _fixed(item: Fixed, span: Span, run: Run, places: Places | None) -> Iterator[Draft]:
    frame = span.frame
    price, times = _price_at(item.slabs, span.account.contract_w), _times(item.times, span.account)
    if item.every is Every.DAY:
        yield Draft(price * times * frame.days, frame.days, "day", floor(price * times), "day")
        return
    factor = frame.elapsed if item.prorate else ONE * (max(1, frame.cycle.months) if frame.opens and frame.days else 0)
    if factor and item.times is Times.ONE:
        yield Draft(price * factor, 1, "time", price, "month", factor=factor)
    elif factor:
        yield Draft(price * times * factor, int(times * 1000), "W", price, "kW a month", factor=factor)


def _minimum(item: Minimum, span: Span, run: Run, places: Places | None) -> Iterator[Draft]:
    """Known when the use of all days is: what is missing to the minimum."""
    base = sum(run.amounts[code] for code in item.bases)
    least, months = item.amount * _times(item.times, span.account), span.frame.months
    if span.ended and least * months > base:
        yield Draft(least * months - base, base, "money", floor(least), "month", factor=months)


def _debt(item: Debt, span: Span, run: Run, places: Places | None) -> Iterator[Draft]:
    """So much a day or month until the account's debt of this code is paid; whole nano, never more than is owed."""
    owed = dict(span.account.debts).get(item.code, 0) - run.paid.get(item.code, 0)
    monthly = item.every is Every.MONTH
    due = floor(item.price * (span.frame.elapsed if monthly else span.frame.days))
    amount = max(0, min(owed, rounded(due, places)))
    run.paid[item.code] = run.paid.get(item.code, 0) + amount
    if amount:
        yield Draft(amount, span.frame.days, "day", item.price, item.every.value, factor=span.frame.elapsed if monthly else ONE)


# ---- percentages ----------------------------------------------------------------------------------------------


def _percent(item: Percent, span: Span, run: Run, places: Places | None) -> Iterator[Draft]:
    base = sum(run.amounts[code] for code in item.bases)
    exact: Fraction | int
    if places is not None or item.cap is not None:
        exact = Fraction(base * item.ppm, PPM)
    else:
        exact, run.remainders[item.code] = divmod(run.remainders.get(item.code, 0) + base * item.ppm, PPM)
    yield Draft(exact, base, "money", item.ppm, "%")


# ---- demand ---------------------------------------------------------------------------------------------------


def highest_w(item: Demand, span: Span) -> Fraction:
    """The highest power in the item's periods."""
    highest = max((span.peaks.get((item.code, p), 0) for p in item.periods or span.frame.version.periods), default=0)
    return Fraction(highest * HOUR_MIN, item.window_min)


def _demand(item: Demand, span: Span, run: Run, places: Places | None) -> Iterator[Draft]:
    """The highest of: measured, share of the contract, share of the past; what is above the contract costs more."""
    measured, contract = highest_w(item, span), span.account.contract_w
    past = max(span.past.get(item.code, ())[: item.ratchet_cycles], default=0)
    billed = max(measured, Fraction(contract * item.contract_ppm, PPM), Fraction(past * item.ratchet_ppm, PPM))
    below, period = Fraction(0), "+".join(item.periods)
    for number, slab in enumerate(item.slabs, 1):
        part = min(billed, Fraction(slab.until) if slab.until is not None else billed) - below
        if part > 0:
            yield _power(span, part, slab.price, period, number if len(item.slabs) > 1 else 0)
            below += part
    over = max(Fraction(0), measured - contract)
    if item.excess_ppm and over:
        price = Fraction(_price_at(item.slabs, floor(measured)) * item.excess_ppm, PPM)
        yield _power(span, over, price, period, len(item.slabs) + 1)


def _power(span: Span, watts: Fraction, price: Fraction | int, period: str, number: int) -> Draft:
    factor = span.frame.elapsed
    return Draft(watts * price * factor, floor(watts), "W", floor(price), "kW", period, number, factor)


PRICES: dict[type[Item], Callable[[Any, Span, Run, Places | None], Iterator[Draft]]] = {
    Energy: energy, Fixed: _fixed, Demand: _demand, Percent: _percent, Minimum: _minimum, Debt: _debt, Net: net,
    PowerFactor: power_factor,
}  # fmt: skip
KINDS: dict[type[Item], str] = {kind: kind.__name__.lower() for kind in PRICES} | {PowerFactor: "power_factor"}
