"""Lines of the tariff engine as lines of a bill: those of one item, period, slab and price together. Pure.

* Quantity and price are named only where quantity x price is the amount, exactly; a percentage within one nano, as its remainder
  is carried.
* Readings stand with energy whose quantity is all the register moved between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from gridtally_cloud.billing.model import Line, LineKind, Reading
from gridtally_shared.messages.charge_words import COUNTED
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.lines import Line as TariffLine
from gridtally_shared.tariff.terms import PPM

PLAIN = frozenset({"fixed", "tax", "tax_energy", "tax_fixed"})


@dataclass(frozen=True, slots=True)
class Charged:
    """A line as it was charged at `at_ms`, with days or with use; `first` and `last`: the readings around all of its kind."""

    line: TariffLine
    at_ms: int
    with_days: bool
    first: Reading | None = None
    last: Reading | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """All of one price."""

    line: TariffLine
    with_days: bool
    from_ms: int
    to_ms: int
    count: int
    first: Reading | None
    last: Reading | None

    @property
    def rate_nano(self) -> int:
        """The price, where it explains the amount."""
        return self.line.rate if self.line.quantity * self.line.rate == self.line.amount_nano else 0


def charge_lines(charged: Iterable[Charged], sign: int) -> Iterator[Line]:
    """`sign`: 1 on a bill, -1 on the statement of a prepaid account."""
    groups: dict[tuple[object, ...], _Group] = {}
    for each in charged:
        line = each.line
        key = (each.with_days, line.kind, line.code, line.period, line.slab, line.rate, line.unit)
        groups[key] = _added(groups.get(key), each)
    for group in groups.values():
        if group.line.amount_nano or group.line.quantity:
            made = _FORMS.get((group.line.kind, group.line.unit), _other)(group)
            yield replace(made, amount_nano=sign * group.line.amount_nano)


def _added(group: _Group | None, more: Charged) -> _Group:
    if group is None:
        return _Group(more.line, more.with_days, more.at_ms, more.at_ms, 1, more.first, more.last)
    quantity, amount_nano = group.line.quantity + more.line.quantity, group.line.amount_nano + more.line.amount_nano
    line = replace(group.line, quantity=quantity, amount_nano=amount_nano)
    return replace(group, line=line, to_ms=more.at_ms, count=group.count + 1, last=more.last)


def _energy(group: _Group) -> Line:
    first, last = group.first, group.last
    from_ms = first.at_ms if first else group.from_ms
    if first is None or last is None or last.register_wh - first.register_wh != group.line.quantity:
        first = last = None
    return Line(LineKind.ENERGY, 0, 0, from_ms, group.to_ms, group.line.quantity, "Wh", group.rate_nano, first=first, last=last,
                reference=_named(group.line))  # fmt: skip


def _days(group: _Group) -> Line:
    return Line(LineKind.FIXED, 0, 0, group.from_ms, group.to_ms, group.line.quantity, "day", group.rate_nano, reference=_own(group.line))


def _months(group: _Group) -> Line:
    """A share of a month for each time that days were charged."""
    line = group.line
    return Line(LineKind.FIXED, 0, 0, group.from_ms, group.to_ms, group.count, "day", reference=_own(line), form=line.kind,
                rate=line.rate, per=line.per)  # fmt: skip


def _tax(group: _Group) -> Line:
    line = group.line
    kind = LineKind.TAX_FIXED if group.with_days or line.code == "tax_fixed" else LineKind.TAX_ENERGY
    near = abs(line.quantity * line.rate - line.amount_nano * PPM) <= PPM
    return Line(kind, 0, 0, group.from_ms, group.to_ms, line.quantity, "nano", rate_ppm=line.rate if near else 0,
                reference=_own(line))  # fmt: skip


def _other(group: _Group) -> Line:
    line = group.line
    quantity = line.quantity if line.unit in COUNTED else 0
    return Line(LineKind.OTHER, 0, 0, group.from_ms, group.to_ms, quantity, line.unit, reference=_named(line) or line.code, form=line.kind,
                rate=line.rate, per=line.per)  # fmt: skip


def _own(line: TariffLine) -> str:
    """The item's code where its line has no name of its own on a bill."""
    return "" if line.code in PLAIN else line.code


def _named(line: TariffLine) -> str:
    """The tariff's own code of an item that is not plain energy, with period and slab."""
    parts = (line.code, line.period, str(line.slab) if line.slab > 0 else "")
    return "" if parts == ("energy", "", "") else " ".join(part for part in parts if part)


_FORMS: dict[tuple[str, str], Callable[[_Group], Line]] = {
    ("energy", "Wh"): _energy, ("fixed", "day"): _days, ("fixed", "time"): _months, ("fixed", "W"): _months, ("percent", "money"): _tax,
}  # fmt: skip
