"""Poll plans as data: what a meter is asked, how often, and when within its interval it has its turn.

* Registers, momentary values, switch and load profile belong to every turn, and a turn comes with every recording interval
  unless the plan says `turn_s`. While a meter's account is near its end its turns come with every interval all the same.
* The contents of `JOBS` come with a turn when their time has come and the meter can do them. A meter's own plan overrides
  single times; NEVER leaves one out.
* Strategies place the turns of a street within a window of the interval: SPREAD gives each meter its own fixed moment,
  ROUND_ROBIN rotates who is first, RANDOM draws a moment for each turn (seeded, so the same again after a restart),
  GROUPED gives each group a part of the window, rotating which is first, and draws a moment within it (ETSI NR6c).
* Between two turns a meter is watched: its status word and its event log, so that no alarm waits for a whole interval.
* Daily and billing rows are asked for once a new one can be there; a row missing between two others is asked for once a
  day with exactly the range between them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import fields
from enum import Enum
from itertools import pairwise
from typing import Any

from gridtally_edge.drivers.model import Capability
from gridtally_edge.polling.gaps import Span
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

NEVER = -1
LONGEST_TURN_S = 86_400


class Strategy(Enum):
    SPREAD = "spread"
    ROUND_ROBIN = "round-robin"
    RANDOM = "random"
    GROUPED = "grouped"


class Content(Enum):
    EVENTS = "events"
    STATUS = "status"
    CLOCK = "clock"
    SETTINGS = "settings"
    DAILY = "daily"
    BILLING = "billing"
    NAME_PLATE = "name_plate"
    DIAGNOSTICS = "diagnostics"


@dataclass(frozen=True, slots=True)
class Job:
    """`every_ms` 0: with every turn. `again_ms`: how soon after a try that failed."""

    content: Content
    needs: Capability
    every_ms: int = 0
    again_ms: int = 0


JOBS: tuple[Job, ...] = (
    Job(Content.EVENTS, Capability.EVENTS),
    Job(Content.STATUS, Capability.STATUS_WORD),
    Job(Content.CLOCK, Capability.CLOCK, 6 * MS_PER_HOUR, MS_PER_HOUR),
    Job(Content.SETTINGS, Capability.SETTINGS, 6 * MS_PER_HOUR, MS_PER_HOUR),
    Job(Content.DAILY, Capability.DAILY, 0, MS_PER_HOUR),
    Job(Content.BILLING, Capability.BILLING, 0, MS_PER_HOUR),
    Job(Content.NAME_PLATE, Capability.NAME_PLATE, 7 * MS_PER_DAY, MS_PER_HOUR),
    Job(Content.DIAGNOSTICS, Capability.DIAGNOSTICS, MS_PER_DAY, MS_PER_HOUR),
)


@dataclass(frozen=True, slots=True)
class PollPlan:
    """One meter's plan. `turn_s`: from one turn to the next, in whole recording intervals; 0: each of them, a day at most.
    `window_percent` of a turn is used for where it begins; `group` of `groups` for GROUPED; `watch_s` -1: not watched between
    turns; the other `*_s` override how often a content comes (0: every turn, -1: never)."""

    strategy: Strategy = Strategy.SPREAD
    window_percent: int = 25
    seed: int = 0
    group: int = 0
    groups: int = 1
    turn_s: int = 0
    watch_s: int = 300
    events_s: int = 0
    status_s: int = 0
    clock_s: int = 6 * 3_600
    settings_s: int = 6 * 3_600
    daily_s: int = 0
    billing_s: int = 0
    name_plate_s: int = 7 * 86_400
    diagnostics_s: int = 86_400

    def turn_ms(self, interval_ms: int) -> int:
        """How long a turn is of a meter with this recording interval."""
        return max(1, self.turn_s * 1_000 // interval_ms) * interval_ms

    def every_ms(self, content: Content) -> int:
        """How often; NEVER for not at all."""
        seconds = int(getattr(self, f"{content.value}_s"))
        return NEVER if seconds < 0 else seconds * 1_000


DEFAULT_PLAN = PollPlan()


def plan_from(values: Mapping[str, Any]) -> PollPlan:
    """A plan from the registry's plain values. Raises ConfigError."""
    known = {f.name for f in fields(PollPlan)}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"plan.{key}", value, f"a plan knows only {', '.join(sorted(known))}")
        if key != "strategy" and type(value) is not int:
            raise ConfigError(f"plan.{key}", value, "write a whole number")
    try:
        strategy = Strategy(values.get("strategy", "spread"))
    except ValueError:
        names = ", ".join(s.value for s in Strategy)
        raise ConfigError("plan.strategy", values["strategy"], f"write one of {names}") from None
    plan = PollPlan(**{**values, "strategy": strategy})
    if not (1 <= plan.window_percent <= 90 and plan.groups >= 1 and 0 <= plan.group < plan.groups):
        raise ConfigError("plan", dict(values), "window_percent is 1 to 90, group is 0 to groups - 1")
    if not 0 <= plan.turn_s <= LONGEST_TURN_S:
        raise ConfigError("plan.turn_s", plan.turn_s, f"write 0 (each interval) to {LONGEST_TURN_S}: every meter is read each day")
    return plan


def offset_ms(plan: PollPlan, key: str, place: int, places: int, turn: int, turn_ms: int) -> int:
    """When within turn number `turn` the meter `place` of `places` begins, from the start of the window on."""
    window_ms, places = turn_ms * plan.window_percent // 100, max(1, places)
    first, parts, drawn = {
        Strategy.SPREAD: (place, places, False),
        Strategy.ROUND_ROBIN: ((place + turn) % places, places, False),
        Strategy.RANDOM: (0, 1, True),
        Strategy.GROUPED: ((plan.group + turn) % plan.groups, plan.groups, True),
    }[plan.strategy]
    within_ms = random.Random(f"{plan.seed} {key} {turn}").randrange(max(1, window_ms // parts)) if drawn else 0
    return window_ms * first // parts + within_ms


@dataclass(frozen=True, slots=True)
class Periodic:
    """Rows that come by the calendar: never closer than `shortest_ms`, a missing one between two further than `longest_ms`."""

    content: Content
    shortest_ms: int
    longest_ms: int
    first_back_ms: int
    gaps_back_ms: int


DAILY = Periodic(Content.DAILY, 23 * MS_PER_HOUR, 25 * MS_PER_HOUR, 45 * MS_PER_DAY, 45 * MS_PER_DAY)
BILLING = Periodic(Content.BILLING, 27 * MS_PER_DAY, 32 * MS_PER_DAY, 400 * MS_PER_DAY, 400 * MS_PER_DAY)
PERIODIC = (DAILY, BILLING)


def new_rows_span(kind: Periodic, stored_ms: Sequence[int], now_ms: int) -> tuple[Span, ...]:
    """The range in which a new row can stand; none while the last one is too young. `stored_ms` ascends."""
    if not stored_ms:
        return (Span(now_ms - kind.first_back_ms, now_ms + 1),)
    ripe = now_ms - stored_ms[-1] >= kind.shortest_ms
    return (Span(stored_ms[-1] + 1, now_ms + 1),) if ripe else ()


def missing_rows(kind: Periodic, stored_ms: Sequence[int], now_ms: int) -> tuple[Span, ...]:
    """The ranges between stored rows that are too far apart, oldest first."""
    young = [at for at in stored_ms if at >= now_ms - kind.gaps_back_ms]
    return tuple(Span(a + 1, b) for a, b in pairwise(young) if b - a > kind.longest_ms)
