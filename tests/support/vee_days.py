"""Days as VEE gets them, some with things wrong: for its property tests and its benchmark."""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass, replace

from gridtally_cloud.store.days import slots_of
from gridtally_cloud.vee.judge import Known
from gridtally_cloud.vee.local import LocalTime
from gridtally_cloud.vee.model import RegisterSample, RuleSet, Stretch
from gridtally_cloud.vee.registers import Register
from gridtally_cloud.vee.said import TOLD, Event
from gridtally_shared.quality import Quality

ZONES = ("UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York")
CHANGES = (20_390, 20_480, 20_540, 20_541, 20_754)
"""Days near which clocks change for summer in some of the zones."""
FLAGS = (Quality.CLOCK_UNCERTAIN, Quality.METER_INVALID, Quality.RESET, Quality.POWER_FAIL, Quality.POWER_FAIL | Quality.PARTIAL,
         Quality.ESTIMATED)  # fmt: skip
RULES_OFF = ("stuck", "limit", "spike", "zero", "meter", "sum", "outage", "conflict", "register", "device", "reader_clock")


@dataclass(slots=True)
class Columns:
    """A stretch while it is made."""

    start_ms: int
    period_s: int
    ends: list[int]
    values: list[int]
    quality: list[int]
    present: bytearray

    def at(self, place: int) -> int:
        return self.start_ms + place * self.period_s * 1000

    def stretch(self, unit: str = "Wh") -> Stretch:
        return Stretch(self.start_ms, self.period_s, unit, array("q", self.values), array("H", self.quality), bytes(self.present))


def clean(rng: random.Random, zone: str, first_day: int, days: int, period_s: int = 900) -> Columns:
    """A house with an evening, in Wh."""
    grids = [slots_of(first_day + i, zone, period_s) for i in range(days)]
    ends = [sum(g.n for g in grids[: i + 1]) for i in range(days)]
    values = [round(rng.uniform(90, 200) + (rng.uniform(0, 300) if 68 <= i * period_s // 900 % 96 <= 88 else 0)) for i in range(ends[-1])]
    return Columns(grids[0].start_ms, period_s, ends, values, [0] * len(values), bytearray([1]) * len(values))


def _gone(c: Columns, i: int, _rng: random.Random) -> None:
    c.present[i], c.quality[i] = 0, int(Quality.MISSING)


def _negative(c: Columns, i: int, _rng: random.Random) -> None:
    c.values[i] = -1 - c.values[i]


def _high(c: Columns, i: int, rng: random.Random) -> None:
    c.values[i] *= rng.choice([5, 100])


def _flag(c: Columns, i: int, rng: random.Random) -> None:
    c.quality[i] |= int(rng.choice(FLAGS))


def _still(c: Columns, i: int, rng: random.Random) -> None:
    run = range(i, min(len(c.values), i + rng.randrange(3, 40)))
    value, dark = rng.choice([0, 0, c.values[i]]), rng.random() < 0.3
    for place in run:
        c.values[place] = value
        c.quality[place] |= int(Quality.POWER_FAIL) if dark else 0


FAULTS = (_gone, _negative, _high, _flag, _still)


def damaged(c: Columns, rng: random.Random, faults: int) -> Columns:
    for _ in range(faults):
        rng.choice(FAULTS)(c, rng.randrange(len(c.values)), rng)
    return c


def midnights(c: Columns, step: int = 1) -> Register:
    """A register that counted what the columns say and was read at the end of each day."""
    reads = tuple(RegisterSample(c.at(end), 10_000 + sum(c.values[:end])) for end in (0, *c.ends))
    return Register(reads, step)


def house(rng: random.Random, faults: int, days: int = 3, zone: str = "Asia/Kolkata") -> tuple[Stretch, Known]:
    """Days of a house with the registers of what truly was used."""
    c = clean(rng, zone, 20_500 + rng.randrange(200), days)
    known = Known(RuleSet(), 11_000, LocalTime(zone), midnights(c))
    return damaged(c, rng, faults).stretch(), known


def anything(rng: random.Random) -> tuple[Stretch, Known]:
    """Whatever may come: any zone, day, period, unit, rule set, with events, registers that lie, edits and contradictions."""
    zone, period_s = rng.choice(ZONES), rng.choice([900, 1800, 3600])
    c = clean(rng, zone, rng.choice(CHANGES) + rng.randrange(-2, 3), rng.choice([1, 2, 3]), period_s)
    register = midnights(c, rng.choice([1, 10])) if rng.random() < 0.8 else Register()
    if rng.random() < 0.4:
        lies = tuple(replace(s, value=s.value + rng.choice([0, 3, -2000, -(10**7)]), slack=rng.choice([0, 50])) for s in register.samples)
        register = replace(register, samples=lies)
    damaged(c, rng, rng.choice([0, 0, 1, 3, 20]))
    places, codes, n = range(len(c.values)), sorted(TOLD), len(c.values)
    near = range(c.at(-3), c.at(n + 1))
    rules = RuleSet(
        off=frozenset(rng.sample(RULES_OFF, rng.choice([0, 0, 0, 1, 3]))), spike_permille=rng.choice([1800, 100, 100_000]),
        stuck_run=rng.choice([12, 3]), zero_run=rng.choice([12, 3]), limit_factor_permille=rng.choice([1200, 1000]),
    )  # fmt: skip
    known = Known(
        rules, rng.choice([11_000, 2_000, 1_500]), LocalTime(zone), register,
        tuple((c.at(i), c.values[i] + 1) for i in rng.sample(places, rng.choice([0, 0, 0, 1, 2]))),
        rng.choice(["import", "import", "import", "export", "net", ""]),
        tuple(Event(rng.choice(codes), rng.choice(near)) for _ in range(rng.choice([0, 0, 0, 1, 3]))),
        frozenset(c.at(i) for i in rng.sample(places, rng.choice([0, 0, 0, 1, n // 2]))),
        frozenset(c.at(i) for i in rng.sample(places, rng.choice([0, 0, 0, 1, 5]))),
    )  # fmt: skip
    return c.stretch(rng.choice(["Wh", "Wh", "Wh", "Wh", "VAh", "varh", "V", "L"])), known
