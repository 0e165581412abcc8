"""Lines of a tariff in words, so that a person can follow each amount: one definition for display, statement and portal. Pure.

* An item is named by its code: the words of the catalogue, else the tariff's own code as it is written there.
* A charge names its quantity and price. What is charged in parts (a month's charge day by day, a power held over days) names the
  price it is a part of.
* The figures are written by whoever shows them; `told` writes them as the display does.

Source: seed 002 (explains each amount); docs/tariff.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gridtally_shared.messages.catalogue import phrase
from gridtally_shared.messages.words import Words
from gridtally_shared.money import decimal_text
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.lines import Line

TABLE = "charges"
PER_THOUSAND = frozenset({"kWh", "kVAh", "kW"})
"""Priced by the thousand of what is counted."""
COUNTED = frozenset({"Wh", "VAh", "day", "money"})
"""Quantities that add up over entries; powers and shares of a month do not."""
UNITS = {"Wh": "kWh", "VAh": "kVAh", "W": "kW"}


@dataclass(frozen=True, slots=True)
class ChargeTold:
    """What it is, and how its amount comes about."""

    what: str
    how: str
    amount_nano: int


def item_name(code: str, period: str, slab: int, language: str) -> str:
    """'Energy, night, step 2'."""
    parts = [_named("item", code, language)]
    parts += [" + ".join(_named("period", p, language).lower() for p in period.split("+"))] if period else []
    parts += [_say("more_slab", language, slab=str(slab))] if slab > 0 else []
    return ", ".join(parts)


def how(kind: str, language: str, quantity: str, rate: str, per: str) -> str:
    """The sentence of a line; without a quantity the price it is a part of."""
    unit = phrase(TABLE, f"unit_{per}_1", language) or phrase(TABLE, f"unit_{per}", language) or per
    code = kind if quantity or kind in ("cap", "rounding") else "part"
    return _say(code, language, quantity=quantity, rate=rate, per=unit)


def counted(number: int, unit: str, language: str) -> str:
    """Days with their word."""
    return f"{number} {phrase(TABLE, f'unit_{unit}_1' if abs(number) == 1 else f'unit_{unit}', language) or unit}"


def together(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines of one item, period, slab and price as one, an item's own together; those that came to nothing are left out."""
    found: dict[tuple[object, ...], Line] = {}
    for line in lines:
        key = (line.code, line.kind, line.period, line.slab, line.unit, line.rate, line.per)
        was = found.get(key)
        found[key] = line if was is None else replace(
            line, quantity=was.quantity + line.quantity, amount_nano=was.amount_nano + line.amount_nano)  # fmt: skip
    order = list(dict.fromkeys(line.code for line in found.values()))
    return tuple(sorted((line for line in found.values() if line.amount_nano), key=lambda line: order.index(line.code)))


def told(line: Line, words: Words) -> ChargeTold:
    """A line as the display writes it."""
    quantity = _quantity(line, words) if line.unit in COUNTED and line.quantity else ""
    rate = decimal_text(line.rate * 10**5) if line.per == "%" else words.price(line.rate * (1000 if line.per in PER_THOUSAND else 1))
    sentence = how(line.kind, words.language, quantity, rate, line.per)
    return ChargeTold(item_name(line.code, line.period, line.slab, words.language), sentence, line.amount_nano)


def _quantity(line: Line, words: Words) -> str:
    if line.unit == "money":
        return words.money(line.quantity)
    if line.unit in UNITS:
        return f"{decimal_text(line.quantity * 10**6)}\u00a0{UNITS[line.unit]}"
    return counted(line.quantity, line.unit, words.language)


def _named(kind: str, code: str, language: str) -> str:
    text = phrase(TABLE, f"{kind}_{code}", language)
    return text if text is not None else code.replace("_", " ").capitalize()


def _say(code: str, language: str, **values: str) -> str:
    text = phrase(TABLE, code, language)
    return code if text is None else text.format(**values)
