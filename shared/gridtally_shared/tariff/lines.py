"""One amount and how it came about, so that a person can follow it; differences of what was charged before. Pure.

A line travels as codes and numbers; `explained` is its English sentence, other languages take `text` as their message code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from gridtally_shared.money import decimal_text
from gridtally_shared.records import dataclass

Key = tuple[str, int, str, int]
ONE = Fraction(1)
CAP_SLAB = -1


@dataclass(frozen=True, slots=True)
class Line:
    """`rate` is nano per `per` (ppm for a percentage). `quantity` in `unit`; `factor`: months it stands for. `first` and `until`:
    local days of the version's part of the cycle. `slab`: 1 is the lowest, 0 there are none, -1 the cap."""

    code: str
    kind: str
    first: int
    until: int
    quantity: int
    unit: str
    rate: int
    per: str
    amount_nano: int
    period: str = ""
    slab: int = 0
    factor: Fraction = ONE
    base_nano: int = 0

    @property
    def key(self) -> Key:
        return (self.code, self.first, self.period, self.slab)

    @property
    def text(self) -> str:
        """The message code of the sentence."""
        return f"tariff_{self.kind}"


def total_nano(lines: Iterable[Line]) -> int:
    return sum(line.amount_nano for line in lines)


def difference(now: Sequence[Line], before: Sequence[Line]) -> tuple[Line, ...]:
    """What `now` says more than `before`, line by line; lines that did not move are left out. Two versions within one day have
    lines of the same key: they are told apart by their order."""
    if not before:
        return tuple(line for line in now if line.amount_nano or line.quantity)
    if len(now) == len(before) and all(line.key == was.key for line, was in zip(now, before, strict=True)):
        return tuple(_less(line, was) for line, was in zip(now, before, strict=True) if _differs(line, was))
    old = dict(_numbered(before))
    moved = [_less(line, was) for key, line in _numbered(now) if (was := old.pop(key, None)) is None or _differs(line, was)]
    gone = [negative(line) for line in old.values()]
    return tuple(line for line in [*moved, *gone] if line.amount_nano or line.quantity)


def _numbered(lines: Sequence[Line]) -> Iterator[tuple[tuple[object, int], Line]]:
    """Each line under its key and how many of that key came before it."""
    seen: dict[object, int] = {}
    for line in lines:
        key = line.key
        number = seen[key] = seen.get(key, 0) + 1
        yield (key, number), line


def negative(line: Line) -> Line:
    """What takes a line back."""
    return replace(line, quantity=-line.quantity, amount_nano=-line.amount_nano, base_nano=-line.base_nano)


def _differs(line: Line, was: Line) -> bool:
    return line.amount_nano != was.amount_nano or line.quantity != was.quantity


def _less(line: Line, was: Line | None) -> Line:
    if was is None:
        return line
    return Line(line.code, line.kind, line.first, line.until, line.quantity - was.quantity, line.unit, line.rate, line.per,
                line.amount_nano - was.amount_nano, line.period, line.slab, line.factor, line.base_nano - was.base_nano)  # fmt: skip


def factor_text(factor: Fraction) -> str:
    """Exact: "1.0151", or "14/30" in lowest terms where decimals never end."""
    scaled = factor * 10**9
    return decimal_text(int(scaled)) if scaled.denominator == 1 else f"{factor.numerator}/{factor.denominator}"


def thousandths(quantity: int) -> str:
    """Wh as kWh, W as kW: exact."""
    return decimal_text(quantity * 10**6)


def quantity_text(line: Line) -> str:
    kilo = {"Wh": "kWh", "VAh": "kVAh", "W": "kW"}
    if line.unit in kilo:
        return f"{thousandths(line.quantity)} {kilo[line.unit]}"
    return decimal_text(line.quantity) if line.unit == "money" else f"{line.quantity} {line.unit}"


def rate_text(line: Line) -> str:
    """Per kWh or kW for what is counted in thousandths."""
    if line.per == "%":
        return decimal_text(line.rate * 10**5)
    return decimal_text(line.rate * (1000 if line.per in ("kWh", "kVAh", "kW") else 1))


_SENTENCES = {
    "energy": "{quantity} at {rate} per {per}{period}{slab}",
    "fixed": "{quantity} at {rate} per {per}{months}",
    "demand": "{quantity} billed at {rate} per {per}{period}{months}{slab}",
    "percent": "{rate} % of {quantity}",
    "net": "{quantity} more taken than given at {rate} per {per}{period}{slab}",
    "carried": "{quantity} more given than taken, carried into the next cycle{period}",
    "true_up": "{quantity} left at the end of the year, given at {rate} per {per}{period}",
    "power_factor": "{rate} % of {quantity} for the power factor{period}",
    "minimum": "raised from {quantity} to {rate}{months}",
    "debt": "{quantity} at {rate} per {per}{months}, until it is paid",
    "cap": "no more than {rate}{months}",
    "rounding": "rounded",
}


def explained(line: Line) -> str:
    """The line in one English sentence, without its amount."""
    return _SENTENCES[line.kind].format(
        quantity=quantity_text(line), rate=rate_text(line), per=line.per, period=f", {line.period}" if line.period else "",
        slab=f", slab {line.slab}" if line.slab > 0 else "", months="" if line.factor == 1 else f" x {factor_text(line.factor)} months",
    )  # fmt: skip
