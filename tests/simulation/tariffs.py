"""The tariffs of the worlds: their documents, and what they say in plain numbers for the oracle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from random import Random

from gridtally_shared.contract.messages import TariffDocument

DAY_MS = 86_400_000
NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Plain:
    """A version in the oracle's words: money per Wh (the lowest) and per local day, and a tax on both, as exact fractions."""

    from_ms: int
    per_wh: Fraction
    per_day: Fraction
    tax: Fraction
    rates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tariff:
    """`slabs`: (Wh up to which, price of a Wh), telescopic within the month; empty where all energy has one price."""

    versions: tuple[Plain, ...]
    slabs: tuple[tuple[int | None, Fraction], ...] = ()

    def price_of(self, rate: int, a_day: bool) -> Plain | None:
        """The version with this price, in nano a Wh or a day."""
        if a_day:
            return next((v for v in self.versions if v.per_day == rate), None)
        return next((v for v in self.versions if rate in v.rates), None)

    def in_force(self, price: Plain, from_ms: int, to_ms: int) -> bool:
        """Whether a version was in force somewhere within a reading's span; the first one also before it begins."""
        place = self.versions.index(price)
        ends = self.versions[place + 1].from_ms if place + 1 < len(self.versions) else None
        return (place == 0 or price.from_ms <= to_ms) and (ends is None or from_ms <= ends)

    def slab_cost(self, wh: int) -> Fraction:
        """All energy of the month at once, slab by slab."""
        cost, below = Fraction(0), 0
        for until, per_wh in self.slabs:
            top = wh if until is None else min(wh, until)
            cost += per_wh * max(0, top - below)
            below = max(below, top)
        return cost


PRICES: tuple[tuple[str, str, str], ...] = (("8.00", "0", "5"), ("6.35", "1.10", "7.5"), ("11.00", "3.333", "0"))
SLABS: tuple[tuple[str | None, str], ...] = (("5", "3.15"), ("20", "4.80"), ("60", "6.40"), (None, "7.95"))
DUTY = "10"


def choose(random: Random, start_ms: int, days: int) -> tuple[TariffDocument, ...]:
    """A price, sometimes with another one from somewhere within the run on, or slabs."""
    first, second = random.choice(PRICES), random.choice(PRICES)
    change_ms = start_ms + random.randrange(days * 24) * 3_600_000
    kind = random.random()
    if kind < 0.3:
        return (TariffDocument("home", 1, 0, _slabs()),)
    if kind < 0.55 and first != second:
        return (TariffDocument("home", 1, 0, _flat(*first)), TariffDocument("home", 2, change_ms, _flat(*second)))
    return (TariffDocument("home", 1, 0, _flat(*first)),)


def has_slabs(documents: Iterable[TariffDocument]) -> bool:
    return any("slabs" in d.document for d in documents)


def simple(versions: int, start_ms: int, slabs: bool = False) -> tuple[TariffDocument, ...]:
    """The first price, and with two versions the second one from the next day on."""
    if slabs:
        return (TariffDocument("home", 1, 0, _slabs()),)
    from_ms = (0, start_ms + DAY_MS)
    return tuple(TariffDocument("home", n, from_ms[n - 1], _flat(*PRICES[n - 1])) for n in range(1, versions + 1))


def _flat(energy: str, fixed: str, tax: str) -> str:
    return json.dumps({"kind": "flat", "currency": "INR", "energy_per_kwh": energy, "fixed_per_day": fixed, "tax_percent": tax})


def _slabs() -> str:
    slabs = [{"to_kwh": to, "price": price} if to else {"price": price} for to, price in SLABS]
    items = [{"kind": "energy", "code": "energy", "slabs": slabs}, {"kind": "percent", "code": "duty", "percent": DUTY, "of": ["energy"]}]
    return json.dumps({"kind": "tariff", "code": "home", "currency": "INR", "zone": "Asia/Kolkata",
                       "versions": [{"from": "2026-01-01", "items": items}]})  # fmt: skip


def read(documents: Iterable[TariffDocument]) -> dict[str, Tariff]:
    """By name, from the texts themselves, by schoolbook decimals."""
    found: dict[str, list[TariffDocument]] = {}
    for document in documents:
        found.setdefault(document.tariff_id, []).append(document)
    return {name: _tariff(own) for name, own in found.items()}


def _tariff(documents: list[TariffDocument]) -> Tariff:
    raw = json.loads(documents[0].document)
    if raw["kind"] == "flat":
        return Tariff(tuple(_plain(d) for d in documents))
    energy, duty = raw["versions"][0]["items"]
    slabs = tuple((_wh(s.get("to_kwh")), Fraction(s["price"]) * NANO / 1000) for s in energy["slabs"])
    rates = tuple(int(per_wh) for _, per_wh in slabs)
    return Tariff((Plain(0, slabs[0][1], Fraction(0), Fraction(duty["percent"]) / 100, rates),), slabs)


def _wh(kwh: str | None) -> int | None:
    return None if kwh is None else int(Fraction(kwh) * 1000)


def _plain(document: TariffDocument) -> Plain:
    raw = json.loads(document.document)
    per_wh = Fraction(raw["energy_per_kwh"]) * NANO / 1000
    return Plain(document.from_ms, per_wh, Fraction(raw["fixed_per_day"]) * NANO, Fraction(raw["tax_percent"]) / 100, (int(per_wh),))
