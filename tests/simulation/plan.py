"""What a seed means: the homes, the network, and the list of everything that will happen, before anything happens.

A step is (time, name, numbers). The list is made first so that a failing seed can be shrunk: drop steps, run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

from gridtally_cloud.customers.model import Policy
from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.money import NANO
from simulation import tariffs
from simulation.money_plans import NO_MONEY, Make, Money, money_of

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
EPOCH_MS = 1_793_471_400_000  # 2026-11-01 00:00 in Kolkata
DCU = "dcu-sim"
CARE_EMERGENCY, CARE_CAP, CARE_RATE = 20 * NANO, 40 * NANO, 3 * NANO
CARE = json.dumps({
    "kind": "policy", "code": "care", "currency": "INR", "zero_action": "disconnect", "offline": {"cut": "allowed"},
    "low": {"money": ["10"]}, "emergency": {"limit": "20", "threshold": "5", "auto": True}, "debts": [
        {"kind": "payment", "percent": "25", "period": "day", "cap_per_period": "40.00"},
        {"kind": "time", "period": "day", "rate": "3.00"}],
})  # fmt: skip
"""The policy document of a world with care: emergency credit, and debts that are collected by time and out of payments."""
LEAN_W = 300
LEAN = json.dumps({
    "kind": "policy", "code": "lean", "currency": "INR", "zero_action": "limit", "offline": {"cut": "allowed"},
    "low": {"money": ["10"], "hours": [24]}, "overdraft": [{"money": "5"}],
    "limit": {"at_zero": 2, "cut_after_h": 3, "steps": [{"code": "half", "watts": 1_000}, {"code": "lifeline", "watts": LEAN_W}]},
})  # fmt: skip
"""The one of a lean world: who has used up his credit and a little more is limited first, and cut hours later."""
STERN_HOURS = ("18:00", "08:00")
STERN = json.dumps({
    "kind": "policy", "code": "stern", "currency": "INR", "zero_action": "replenish", "then": "disconnect", "offline": {"cut": "allowed"},
    "low": {"money": ["10"]}, "overdraft": [{"money": "5"}], "restore": {"spread_s": 2_400}, "dormant_days": 0,
    "protected": {"daily": [dict(zip(("from", "to"), STERN_HOURS, strict=True))], "weekly": [{"days": ["tue"]}]},
    "no_switch": {"action": "field_order", "after_days": 0},
})  # fmt: skip
"""The one of a stern world: the utility is asked for a payment first, then it cuts by day; where no switch is fitted somebody is sent; who
stays dark is told of at once; and homes that a word about the weather brings back come in turn."""
DOCUMENTS = {"care": CARE, "lean": LEAN, "stern": STERN}
CARE_RULES = Policy(10 * NANO, "disconnect", "allowed", 0, (), (), 1, False, 0)
STERN_RULES = replace(CARE_RULES, protected_hours=("-".join(STERN_HOURS),))
RULES = {"care": CARE_RULES, "lean": CARE_RULES, "stern": STERN_RULES}
"""The same in the account's own words, for the oracle."""


@dataclass(frozen=True, slots=True)
class Home:
    meter_no: int
    account_no: int
    serial: str
    zone: str
    tariff_id: str
    policy: Policy
    hourly_w: tuple[int, ...]
    start_wh: int
    modulus_wh: int | None
    has_switch: bool
    clock_offset_ms: int


@dataclass(frozen=True, slots=True)
class Step:
    at_ms: int
    kind: str
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`steps` in the order of their time. `rules`: the policy document every home follows, "" for the account's own words. `managed`: homes
    are run by the MDM for a while or for good."""

    seed: int
    days: int
    start_ms: int
    interval_ms: int
    homes: tuple[Home, ...]
    tariffs: tuple[TariffDocument, ...]
    cut_share_permille: int
    network: tuple[int, int, int, int]
    steps: tuple[Step, ...]
    rules: str = ""
    money: Money = NO_MONEY
    managed: bool = False

    @property
    def care(self) -> bool:
        return self.rules == "care"

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.days * DAY_MS

    def with_steps(self, steps: tuple[Step, ...]) -> Plan:
        return replace(self, steps=steps)


def _home(random: Random, homes: int) -> int:
    return random.randrange(homes)


LINE_WAITS_MS = (2 * MINUTE_MS, 10 * MINUTE_MS, 20 * MINUTE_MS)
PAPER_WAITS_MS = (0, 10 * MINUTE_MS, 180 * MINUTE_MS, 1_200 * MINUTE_MS)
CLOCK_JUMPS_S = (-86_400, -7_200, -400, -60, 60, 400, 7_200, 86_400, 400_000)

KINDS: tuple[Make, ...] = (
    ("cash", 1.2, lambda r, n: (_home(r, n), r.choice((20, 50, 100, 200, 500)) * 1_000 + r.randrange(100) * 10)),
    ("online", 0.8, lambda r, n: (_home(r, n), r.choice((20, 50, 100, 200)) * 1_000 + r.randrange(100) * 10, r.randint(1, 3))),
    ("refund", 0.2, lambda r, n: (_home(r, n), r.randint(1, 100))),
    ("outage", 0.5, lambda r, n: (r.choice((5, 60, 300, 1_200, 3_000)) * MINUTE_MS,)),
    ("crash", 0.8, lambda r, n: (r.randint(0, 120), r.randint(1, 30) * MINUTE_MS)),
    ("snapshot", 0.4, lambda r, n: ()),
    ("old_disk", 0.2, lambda r, n: (r.randrange(8), r.randint(1, 30) * MINUTE_MS)),
    ("twin", 0.6, lambda r, n: (r.randint(0, 60),)),
    ("code", 0.8, lambda r, n: (_home(r, n), r.randrange(1 << 30))),
    ("typo", 0.4, lambda r, n: (_home(r, n), r.randrange(1 << 30))),
    ("control", 0.4, lambda r, n: (_home(r, n),)),
    ("book", 0.5, lambda r, n: (_home(r, n), r.randrange(6 * 60))),
    ("cloud_crash", 0.3, lambda r, n: (r.randint(1, 60) * MINUTE_MS,)),
    ("silence", 0.4, lambda r, n: (_home(r, n), r.choice((10, 120, 600)) * MINUTE_MS)),
    ("stuck", 0.15, lambda r, n: (_home(r, n), r.choice((60, 600)) * MINUTE_MS)),
    ("welded", 0.08, lambda r, n: (_home(r, n), r.choice((60, 600)) * MINUTE_MS)),
    ("bypass", 0.05, lambda r, n: (_home(r, n), 600 * MINUTE_MS)),
    ("backfeed", 0.08, lambda r, n: (_home(r, n), r.choice((60, 600)) * MINUTE_MS)),
    ("by_hand", 0.2, lambda r, n: (_home(r, n), r.randrange(2))),
    ("order_open", 0.2, lambda r, n: (_home(r, n),)),
    ("order_close", 0.25, lambda r, n: (_home(r, n),)),
    ("debt", 0.3, lambda r, n: (_home(r, n), r.randint(1, 60) * 1_000, r.randrange(2))),
    ("limit", 0.2, lambda r, n: (_home(r, n), r.choice((0, 300, 1_000)))),
    ("look", 0.2, lambda r, n: (_home(r, n),)),
    ("hold", 0.3, lambda r, n: (_home(r, n), r.randrange(6))),
    ("policy", 0.3, lambda r, n: (_home(r, n), r.randrange(8))),
    ("clock", 0.25, lambda r, n: (r.choice(CLOCK_JUMPS_S) * 1_000, r.randint(10, 2_000) * MINUTE_MS)),
    ("ntp_off", 0.2, lambda r, n: (r.choice((600, 3_000)) * MINUTE_MS,)),
    ("forged", 0.6, lambda r, n: (r.randrange(10), r.randrange(1 << 30))),
    ("replayed", 0.6, lambda r, n: (r.randrange(1 << 30),)),
    ("garbage_up", 0.2, lambda r, n: (r.randrange(1 << 30),)),
    ("spoilt_link", 0.15, lambda r, n: (r.randint(20, 200), 120 * MINUTE_MS)),
    ("reclose", 0.6, lambda r, n: (_home(r, n),)),
    ("mode", 0.15, lambda r, n: (_home(r, n),)),
    ("new_box", 0.05, lambda r, n: (r.choice((1, 60, 600)) * MINUTE_MS,)),
    ("new_meter", 0.08, lambda r, n: (_home(r, n), r.choice(PAPER_WAITS_MS), r.choice((0, 0, 0, 1, 2, 3)), r.randrange(1 << 30))),
    ("frame", 0.4, lambda r, n: (_home(r, n), r.randint(5, 600), r.randint(30, 300), int(r.random() < 0.35))),
    ("event", 0.5, lambda r, n: (_home(r, n), r.randrange(1, max(2, n)), r.randint(5, 600), r.randint(30, 300), r.randint(1, 60) * 1_000)),
    ("unbook", 0.2, lambda r, n: (r.randrange(1 << 30),)),
    ("rebook", 0.15, lambda r, n: (r.randrange(1 << 30), r.randint(5, 300))),
    ("slow_line", 0.2, lambda r, n: (_home(r, n), r.choice(LINE_WAITS_MS), r.choice((60, 600)) * MINUTE_MS)),
)  # fmt: skip
HARD_TIMES_A_DAY = 0.6
"""How often a household is in trouble: troubles come together (`_hard_times`)."""
MOVING_DAYS_A_DAY = 0.04
STERN_TROUBLES_A_DAY = 0.3
STERN_NO_SWITCH = 0.2
VISITED_WORLDS, VISITS_A_DAY, HOLDS_A_DAY = 0.35, 0.5, 0.4
MANAGED_SHARE = 1 / 6
MANAGED_FOR_GOOD = 0.3
WEATHER = 4
"""Its place in `steps.HOLD_SETS`."""


def plan_of(seed: int, days: int = 7, homes: int = 3, density: float = 1.0) -> Plan:
    """`density`: how much happens, as a multiple of what happens in a campaign's day."""
    random = Random(f"plan:{seed}")
    documents = tariffs.choose(random, EPOCH_MS, days)
    names = sorted({d.tariff_id for d in documents})
    interval_ms = random.choice((60, 60, 60, 30)) * MINUTE_MS
    zones = ("Asia/Kolkata",) if tariffs.has_slabs(documents) else ("Asia/Kolkata", "Europe/Berlin")
    made = tuple(_made_home(random, n, names, zones) for n in range(1, homes + 1))
    network = (random.choice((0, 0, 20, 100, 300)), random.choice((0, 20, 200)), random.choice((0, 0, 0, 10)),
               random.choice((300, 3_000, 40_000)))  # fmt: skip
    share, drawn = random.choice((1000, 1000, 400)), random.random()
    rules = "care" if drawn < 0.3 else "lean" if drawn < 0.45 else "stern" if drawn < 0.55 else ""
    made = tuple(replace(h, policy=RULES[rules]) for h in made) if rules else made
    steps = _steps(random, days, homes, density)
    if rules == "stern":
        made = tuple(replace(h, has_switch=h.has_switch and random.random() > STERN_NO_SWITCH) for h in made)
        steps = _in_order((*steps, *_stern_days(random, days, homes, density)))
    steps = _in_order((*steps, *_visits(seed, days, homes, density)))
    money = money_of(seed, homes)
    if money.kinds:
        own = Random(f"money:{seed}")
        steps = _in_order((*steps, *_drawn(own, money.kinds, days, homes, density)))
    managed = tuple(_managed_days(seed, days, homes)) if rules != "lean" and not money.family else ()
    steps = _in_order((*steps, *managed))
    return Plan(seed, days, EPOCH_MS, interval_ms, made, documents, share, network, steps, rules, money, bool(managed))


def _steps(random: Random, days: int, homes: int, density: float) -> tuple[Step, ...]:
    steps = [Step(EPOCH_MS + 10 * MINUTE_MS + n, "cash", (n, random.choice((10, 30, 100, 400)) * 1_000)) for n in range(homes)]
    steps += _drawn(random, KINDS, days, homes, density)
    for at_ms in _moments(random, HARD_TIMES_A_DAY * density, days):
        steps += _hard_times(random, at_ms, _home(random, homes))
    for at_ms in _moments(random, MOVING_DAYS_A_DAY * density, days):
        steps += _moving_day(random, at_ms, _home(random, homes))
    return _in_order(steps)


def _drawn(random: Random, kinds: Iterable[Make], days: int, homes: int, density: float) -> Iterator[Step]:
    for kind, a_day, numbers in kinds:
        for at_ms in _moments(random, a_day * density, days):
            yield Step(at_ms, kind, numbers(random, homes))


def _in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    return tuple(sorted(steps, key=lambda s: (s.at_ms, s.kind, s.numbers)))


def _moments(random: Random, a_day: float, days: int) -> Iterator[int]:
    """When something that happens so often a day happens."""
    expected = a_day * days
    for _ in range(int(expected) + (random.random() < expected % 1)):
        yield EPOCH_MS + HOUR_MS + random.randrange(max(1, days * DAY_MS - 2 * HOUR_MS))


def _hard_times(random: Random, at_ms: int, home: int) -> tuple[Step, ...]:
    """The load is limited, the line is slow, and a bank takes all payments back: within the hour, each at its own moment."""
    return (
        Step(at_ms, "slow_line", (home, random.choice(LINE_WAITS_MS[1:]), 60 * MINUTE_MS)),
        Step(at_ms + random.randrange(10 * MINUTE_MS), "limit", (home, random.choice((100, 300)))),
        Step(at_ms + random.randrange(10 * MINUTE_MS, 40 * MINUTE_MS), "charged_back", (home,)),
    )


def _moving_day(random: Random, at_ms: int, home: int) -> tuple[Step, ...]:
    """Meter and box are replaced, or the meter twice, while the box hears nothing: it learns of both at once."""
    first, second = random.choice((("new_meter", "new_box"), ("new_box", "new_meter"), ("new_meter", "new_meter")))
    numbers = {"new_meter": (home, 10 * MINUTE_MS, random.choice((0, 0, 1, 2, 3)), random.randrange(1 << 30)), "new_box": (HOUR_MS,)}
    return (
        Step(at_ms, "outage", (180 * MINUTE_MS,)),
        Step(at_ms + 5 * MINUTE_MS, first, numbers[first]),
        Step(at_ms + 40 * MINUTE_MS + random.randrange(60 * MINUTE_MS), second, numbers[second]),
    )


def _stern_days(random: Random, days: int, homes: int, density: float) -> Iterator[Step]:
    """Troubles of a stern world, by day, when it may cut. The other worlds are as they were."""
    for day in range(days):
        if random.random() < STERN_TROUBLES_A_DAY * density:
            at_ms = EPOCH_MS + day * DAY_MS + random.randrange(9 * HOUR_MS, 16 * HOUR_MS)
            yield from _weather_passes(random, at_ms, _home(random, homes))


def _visits(seed: int, days: int, homes: int, density: float) -> Iterator[Step]:
    """People who work at a supply, and the desk's holds and protections (visits.py), by chance of their own."""
    random = Random(f"visits:{seed}")
    if random.random() >= VISITED_WORLDS:
        return
    for at_ms in _moments(random, VISITS_A_DAY * density, days):
        length_ms = random.choice((30, 120, 400)) * MINUTE_MS
        yield Step(at_ms, "visit", (_home(random, homes), random.randrange(2), length_ms, random.randrange(2), random.randrange(2)))
    for at_ms in _moments(random, HOLDS_A_DAY * density, days):
        yield Step(at_ms, "order_hold", (_home(random, homes), random.randrange(5), random.choice((1, 1, 0))))


def _weather_passes(random: Random, at_ms: int, home: int) -> tuple[Step, ...]:
    """A home that is off is to come back for the weather, in its turn; the weather is over before that."""
    on_ms = at_ms + random.randrange(30 * MINUTE_MS, 60 * MINUTE_MS)
    return (
        Step(at_ms, "charged_back", (home,)), Step(on_ms, "hold", (home, WEATHER)),
        Step(on_ms + random.randrange(MINUTE_MS, 30 * MINUTE_MS), "hold", (home, 0)),
    )


def _managed_days(seed: int, days: int, homes: int) -> Iterator[Step]:
    """Who is run by the MDM, and when: a home after some minutes or hours, for hours or for good. Lean worlds limit, which no MDM can."""
    random = Random(f"managed:{seed}")
    if random.random() >= MANAGED_SHARE:
        return
    for home in range(homes):
        at_ms = EPOCH_MS + random.choice((5 * MINUTE_MS, 30 * MINUTE_MS, random.randrange(12 * HOUR_MS)))
        while at_ms < EPOCH_MS + days * DAY_MS:
            yield Step(at_ms, "manage", (home,))
            if random.random() < MANAGED_FOR_GOOD:
                break
            back_ms = at_ms + random.randrange(10 * MINUTE_MS, random.choice((HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS)))
            yield Step(back_ms, "give_back", (home,))
            at_ms = back_ms + random.randrange(10 * MINUTE_MS, random.choice((HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS)))


def _made_home(random: Random, n: int, names: list[str], zones: tuple[str, ...]) -> Home:
    base_w = random.choice((150, 400, 900, 2_000))
    hourly = tuple(max(0, int(base_w * random.uniform(0.1, 2.0))) for _ in range(24 * 8))
    modulus = random.choice((None, None, 10_000_000))
    start_wh = 9_990_000 if modulus and random.random() < 0.5 else random.randrange(1_000_000)
    serial = f"GT{n:04d}"
    return Home(n, 100 + n, serial, random.choice(zones), random.choice(names), _policy(random), hourly,
                start_wh, modulus, random.random() > 0.05, random.randint(-3_000, 3_000))  # fmt: skip


def _policy(random: Random) -> Policy:
    hours = random.choice(((), ("18:00-08:00",), ("22:00-06:00", "12:00-13:00")))
    return Policy(
        random.choice((2, 10, 40)) * NANO, random.choice(("disconnect",) * 5 + ("none",)),
        random.choice(("never", "grace", "allowed", "allowed")), random.choice((1, 6)), hours, (),
        random.choice((1, 1, 5 * NANO)), random.random() < 0.1, random.choice((0, 0, 3_600)),
    )  # fmt: skip
