"""What a document's single fields can not show: gaps, overlaps, names that lead nowhere. ConfigError with the path.

* Seasons tile the year, day types the week, hours each day of each season and day type, rates the periods, versions the
  time. A date belongs to one day type at most; dates come before weekdays.
* Slabs rise and end with an open one. `of` names items of the same version and never leads back to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from gridtally_shared.tariff.forms import refuse
from gridtally_shared.tariff.terms import (
    Demand,
    Energy,
    Fixed,
    Hours,
    Item,
    Minimum,
    Net,
    Percent,
    Plan,
    PowerFactor,
    Prorate,
    Slab,
    Version,
)  # fmt: skip

ALL = "all"
YEAR_DAYS = 366
DAY_MIN = 1440
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def checked(plan: Plan, version: Version, path: str) -> Version:
    """The version with its periods and the order of its items filled in. Raises ConfigError."""
    if plan.cycle.months == 0 and plan.proration.by is Prorate.CYCLE_DAYS:
        raise refuse("proration.by", plan.proration.by, 'a cycle that is the bill has no months of its own: write "calendar_months"')
    _check_seasons(version, path)
    _check_day_types(version, path)
    _check_hours(version, path)
    periods = _periods(version)
    _check_registers(version, periods, path)
    _unique((i.code for i in version.items), f"{path}.items", "code")
    for number, item in enumerate(version.items):
        _check_item(item, periods, f"{path}.items[{number}]")
    return replace(version, periods=periods, order=_ordered(version.items, f"{path}.items"))


def checked_versions(plan: Plan) -> Plan:
    """Versions follow each other without gap or overlap."""
    for i, (one, two) in enumerate(pairwise(plan.versions), 1):
        path = f"versions[{i}].from"
        if two.first <= one.first:
            raise refuse(path, _day(two.first), f"versions are in the order of their days: write a day after {_day(one.first)}")
        if one.until is not None and one.until != two.first:
            what = "nothing holds from" if one.until < two.first else "two versions hold from"
            raise refuse(path, _day(two.first), f"{what} {_day(min(one.until, two.first))}: write {_day(one.until)}, the 'to' before it")
    for i, version in enumerate(plan.versions):
        if version.until is not None and version.until <= version.first:
            raise refuse(f"versions[{i}].to", _day(version.until), f"write a day after {_day(version.first)}")
    return plan


def _day(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


def _unique(codes: Iterable[str], path: str, key: str) -> None:
    seen: set[str] = set()
    for i, code in enumerate(codes):
        if code in seen:
            raise refuse(f"{path}[{i}].{key}", code, "this stands twice; give each its own")
        seen.add(code)


def _check_seasons(version: Version, path: str) -> None:
    _unique((s.code for s in version.seasons), f"{path}.seasons", "code")
    owner: dict[int, str] = {}
    for i, season in enumerate(version.seasons):
        length = (season.until - season.first) % YEAR_DAYS + 1
        for day in ((season.first + n) % YEAR_DAYS for n in range(length)):
            if day in owner:
                raise refuse(f"{path}.seasons[{i}]", season.code, f"{_month_day(day)} is in season {owner[day]} too; each day in one")
            owner[day] = season.code
    missing = [d for d in range(YEAR_DAYS) if d not in owner]
    if version.seasons and missing:
        raise refuse(f"{path}.seasons", [s.code for s in version.seasons], f"{_month_day(missing[0])} is in no season; cover the year")


def _month_day(place: int) -> str:
    return date.fromordinal(date(2024, 1, 1).toordinal() + place).strftime("%m-%d")


def _check_day_types(version: Version, path: str) -> None:
    types = version.day_types
    _unique((t.code for t in types), f"{path}.day_types", "code")
    for kind in ("weekdays", "dates", "yearly"):
        owner: dict[int, str] = {}
        for i, day_type in enumerate(types):
            for place, day in enumerate(getattr(day_type, kind)):
                if day in owner:
                    raise refuse(f"{path}.day_types[{i}].{kind}[{place}]", day_type.code, f"already in {owner[day]}; keep it in one")
                owner[day] = day_type.code
    missing = [_DAYS[d] for d in range(7) if not any(d in t.weekdays for t in types)]
    if types and missing:
        raise refuse(f"{path}.day_types", [t.code for t in types], f"{missing[0]} is in no day type; cover the week")


def _check_hours(version: Version, path: str) -> None:
    seasons = tuple(s.code for s in version.seasons) or (ALL,)
    days = tuple(t.code for t in version.day_types) or (ALL,)
    owner: set[tuple[str, str]] = set()
    for i, row in enumerate(version.hours):
        at = f"{path}.hours[{i}]"
        _known(row.seasons, seasons, f"{at}.seasons", "season")
        _known(row.days, days, f"{at}.days", "day type")
        for cell in ((s, d) for s in row.seasons or seasons for d in row.days or days):
            if cell in owner:
                raise refuse(at, "/".join(cell), "these hours are given twice; keep them in one row")
            owner.add(cell)
        _check_bands(row, at)
    missing = [f"{s}/{d}" for s in seasons for d in days if (s, d) not in owner]
    if version.hours and missing:
        raise refuse(f"{path}.hours", f"{len(version.hours)} rows", f"nothing for {missing[0]} (season/day type); add a row")


def _check_bands(row: Hours, path: str) -> None:
    at_min = 0
    for i, band in enumerate(row.bands):
        if band.first != at_min:
            what = "a gap" if band.first > at_min else "an overlap"
            raise refuse(f"{path}.bands[{i}].from", _clock(band.first), f"{what} before it: write \"{_clock(at_min)}\"")
        if band.until <= band.first:
            raise refuse(f"{path}.bands[{i}].to", _clock(band.until), "a band ends after it begins; past midnight write two bands")
        at_min = band.until
    if at_min != DAY_MIN:
        raise refuse(f"{path}.bands[{len(row.bands) - 1}].to", _clock(at_min), 'a gap after it: the last band ends at "24:00"')


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _known(names: Sequence[str], known: Sequence[str], path: str, what: str) -> None:
    for i, name in enumerate(names):
        if name not in known:
            raise refuse(f"{path}[{i}]", name, f"no such {what} here; write one of {', '.join(known)}")


def _periods(version: Version) -> tuple[str, ...]:
    return tuple(dict.fromkeys(band.period for row in version.hours for band in row.bands)) or (ALL,)


def _check_registers(version: Version, periods: tuple[str, ...], path: str) -> None:
    """Each period has one register, and no two have the same."""
    named = [period for period, _ in version.registers]
    _known(named, periods, f"{path}.registers", "period")
    _unique(named, f"{path}.registers", "period")
    _unique((str(rate) for _, rate in version.registers), f"{path}.registers", "rate")
    missing = [period for period in periods if period not in named]
    if named and missing:
        raise refuse(f"{path}.registers", missing[0], "no register counts this period; name one for each, or none at all")


def _check_item(item: Item, periods: tuple[str, ...], path: str) -> None:
    if item.when and item.when.up_to is not None and item.when.up_to <= item.when.over:
        raise refuse(f"{path}.when.up_to", item.when.up_to, "write more than 'over'")
    if isinstance(item, Energy | Net):
        _check_rates(item, periods, path)
    elif isinstance(item, Demand):
        _known(item.periods, periods, f"{path}.periods", "period")
        _check_slabs(item.slabs, path, "to_kw")
    elif isinstance(item, Fixed):
        _check_slabs(item.slabs, path, "to_kw")
    elif isinstance(item, PowerFactor):
        _check_bounds(item, path)


def _check_bounds(item: PowerFactor, path: str) -> None:
    """Outward from unity or from the neutral middle, and never a penalty and an incentive for the same power factor."""
    if not item.penalties and not item.incentives:
        raise refuse(path, item.code, "write 'penalties', 'incentives' or both")
    for name, sign, bounds in (("penalties", -1, item.penalties), ("incentives", 1, item.incentives)):
        for i, (one, two) in enumerate(pairwise(bounds), 1):
            if sign * ((two.until or 0) - (one.until or 0)) <= 0:
                raise refuse(f"{path}.{name}[{i}]", two.until, f"bounds go {'down' if sign < 0 else 'up'}: write them in order")
    if item.penalties and item.incentives and (item.incentives[0].until or 0) < (item.penalties[0].until or 0):
        raise refuse(f"{path}.incentives[0].from", item.incentives[0].until, "an incentive begins where no penalty is taken any more")


def _check_rates(item: Energy | Net, periods: tuple[str, ...], path: str) -> None:
    if not item.rates:
        raise refuse(path, item.code, "write one of 'price', 'slabs' and 'rates', not two")
    owner: set[str] = set()
    for i, rate in enumerate(item.rates):
        at = f"{path}.rates[{i}]" if len(item.rates) > 1 or rate.periods else path
        _known(rate.periods, periods, f"{at}.periods", "period")
        for period in rate.periods or periods:
            if period in owner:
                raise refuse(f"{at}.periods", period, "this period has two prices; keep one")
            owner.add(period)
        _check_slabs(rate.slabs, at, "to_kwh")
    missing = [p for p in periods if p not in owner]
    if missing:
        raise refuse(f"{path}.rates", missing[0], 'this period has no price; add a rate for it, "0" where it is free')


def _check_slabs(slabs: tuple[Slab, ...], path: str, limit: str) -> None:
    if not slabs:
        raise refuse(path, None, "write one of 'price' and 'slabs'")
    below = 0
    for i, slab in enumerate(slabs):
        at, last = f"{path}.slabs[{i}].{limit}", i == len(slabs) - 1
        if last and slab.until is not None:
            raise refuse(at, slab.until, "nothing is said of what lies above: the last slab has no upper bound, leave it away")
        if not last and slab.until is None:
            raise refuse(at, None, "only the last slab is open: write where this one ends")
        if slab.until is not None and slab.until <= below:
            raise refuse(at, slab.until, "slabs overlap: each ends above the one before")
        below = slab.until or below


def _ordered(items: tuple[Item, ...], path: str) -> tuple[Item, ...]:
    """Bases before what is taken on them; independent items by their code, so that the document's order does not matter."""
    by_code = {item.code: item for item in items}
    bases = {i.code: (i.bases if isinstance(i, Percent | Minimum | PowerFactor) else ()) for i in items}
    for number, item in enumerate(items):
        _known(bases[item.code], tuple(by_code), f"{path}[{number}].of", "item")
    try:
        order = TopologicalSorter({code: sorted(bases[code]) for code in sorted(bases)}).static_order()
        return tuple(by_code[code] for code in order)
    except CycleError as error:
        loop = error.args[1][0]
        raise refuse(f"{path}[{list(by_code).index(loop)}].of", loop, "this leads back to itself: take a base that does not") from None
