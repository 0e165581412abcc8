"""The stored versions of a tariff as one plan: what prices what, from which instant on. Pure.

* A stored version is a document and the instant from which it counts. It replaces what earlier documents say of later times; the
  first one also holds before it, the last one goes on (prepayment.md 5.7).
* Documents of one tariff agree on currency, zone, cycle, proration and the rounding of totals: the counts of an open cycle must
  mean the same before and after. The first, flat form has no months and leaves proration and rounding to the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.daybook import begins_ms, day_of, starts_at
from gridtally_shared.tariff.document import tariff_plan
from gridtally_shared.tariff.forms import refuse
from gridtally_shared.tariff.terms import Plan, Version

AGREED = ("currency", "zone", "cycle")
AGREED_MONTHS = ("proration", "total")
FLAT = "flat"


@dataclass(frozen=True, slots=True)
class _Stored:
    number: int
    from_ms: int
    plan: Plan


@lru_cache(maxsize=64)
def pinned_plan(versions: tuple[TariffDocument, ...], zone: str) -> Plan:
    """The plan of a tariff's stored versions; `zone` is for documents of the flat form. Raises ConfigError."""
    ordered = sorted(versions, key=lambda v: (v.from_ms, v.version))
    stored = [_Stored(v.version, v.from_ms, tariff_plan([v.document], zone)) for v in ordered]
    for one in stored[:-1]:
        _agree(one.plan, stored[-1].plan)
    return replace(stored[-1].plan, versions=tuple(_joined(stored)))


def _agree(one: Plan, other: Plan) -> None:
    names = AGREED if FLAT in (one.code, other.code) else AGREED + AGREED_MONTHS
    for name in names:
        if getattr(one, name) != getattr(other, name):
            what = f"all versions of a tariff agree on it: {getattr(one, name)}; for another one make a tariff of another name"
            raise refuse(name, str(getattr(other, name)), what)


def _joined(stored: list[_Stored]) -> Iterator[Version]:
    for i, one in enumerate(stored):
        end_ms = _start_ms(stored[i + 1]) if i + 1 < len(stored) else None
        versions = one.plan.versions
        for n, version in enumerate(versions):
            following = begins_ms(versions[n + 1], one.plan.zone) if n + 1 < len(versions) else None
            start_ms = max(begins_ms(version, one.plan.zone), one.from_ms) if i else begins_ms(version, one.plan.zone)
            over = i > 0 and following is not None and following <= one.from_ms
            if not over and (end_ms is None or start_ms < end_ms or (i == 0 and n == 0)):
                yield _from(version, start_ms, one)


def _start_ms(stored: _Stored) -> int:
    return max(stored.from_ms, begins_ms(stored.plan.versions[0], stored.plan.zone))


def _from(version: Version, start_ms: int, stored: _Stored) -> Version:
    day = day_of(start_ms, stored.plan.zone)
    inside = start_ms if start_ms != starts_at(day, stored.plan.zone) else None
    return replace(version, first=day, until=None, at_ms=inside, number=stored.number)
