"""Households replayed through a tariff, and the questions asked on the way: how long will this money last?

* `horizon` cases: the money is what the next 6 to 168 hours will cost, so the truth is that horizon.
* `rundown` cases: the household buys 3, 7 or 14 days of its mean charge of four weeks whenever nothing is left, and is asked on the
  way down. Nothing of the future chooses a case.
* The truth is the household's real load charged by the real engine. A case whose future has a missing hour is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from forecast.households import Household
from forecast.learn import HORIZONS, WARM_HOURS
from gridtally_shared.clock import MS_PER_HOUR
from gridtally_shared.forecast.history import Calendar, LoadHistory, observed
from gridtally_shared.forecast.parameters import HOURS, Parameters
from gridtally_shared.forecast.timeleft import time_left
from gridtally_shared.forecast.walk import Purse, runs_out_ms
from gridtally_shared.tariff.engine import State, advance, opened
from gridtally_shared.tariff.terms import Account, Plan
from gridtally_shared.tariff.use import Series

LONGEST_HOURS = 336
HORIZONS_EVERY = 5
TOPUP_DAYS = (3, 7, 14)
MEAN_HOURS = 28 * HOURS
ACCOUNT = Account()


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    index: int
    funds_nano: int
    truth_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Spans in ms; all clipped to 14 days but the truth of a case, which `is_safe` compares unclipped."""

    household: str
    tariff: str
    case: Case
    baseline_ms: int
    central_ms: int
    cautious_ms: int

    @property
    def truth_ms(self) -> int:
        return min(self.case.truth_ms, LONGEST_HOURS * MS_PER_HOUR)

    @property
    def is_safe(self) -> bool:
        return self.cautious_ms <= self.case.truth_ms


@dataclass(frozen=True, slots=True)
class Track:
    """A household charged hour by hour: what was charged before each hour, and states and histories where a case may be asked."""

    home: Household
    plan: Plan
    charged_nano: tuple[int, ...]
    known: tuple[int, ...]
    states: dict[int, State]
    histories: dict[int, LoadHistory]

    def is_whole(self, first: int, until: int) -> bool:
        return self.known[until] - self.known[first] == until - first


def track(home: Household, plan: Plan, parameters: Parameters, step: int) -> Track:
    calendar, history, state = Calendar(home.zone), LoadHistory(), opened(plan, ACCOUNT, home.start_ms)
    charged, known, states, histories = [0], [0], {}, {}
    for n, wh in enumerate(home.hours_wh):
        if n % step == 0:
            states[n], histories[n] = state, history
        series = () if wh is None else (Series(home.at_ms(n), MS_PER_HOUR, (wh,)),)
        moved = advance(plan, ACCOUNT, state, series, home.at_ms(n + 1))
        history, state = observed(history, parameters, calendar, home.at_ms(n), wh), moved.state
        charged.append(charged[-1] + moved.amount_nano)
        known.append(known[-1] + (wh is not None))
    return Track(home, plan, tuple(charged), tuple(known), states, histories)


def cases(way: Track) -> Iterator[Case]:
    yield from _horizons(way)
    yield from _rundowns(way)


def _horizons(way: Track) -> Iterator[Case]:
    for n in list(way.states)[::HORIZONS_EVERY]:
        for hours in HORIZONS:
            if n >= WARM_HOURS and n + hours < len(way.known) and way.is_whole(n, n + hours):
                cost = way.charged_nano[n + hours] - way.charged_nano[n]
                if cost > 0:
                    yield Case("horizon", n, cost, hours * MS_PER_HOUR)


def _rundowns(way: Track) -> Iterator[Case]:
    begin, sizes = WARM_HOURS, cycle(TOPUP_DAYS)
    while begin < len(way.home.hours_wh) - 1:
        since = max(0, begin - MEAN_HOURS)
        bought = (way.charged_nano[begin] - way.charged_nano[since]) * HOURS * next(sizes) // (begin - since)
        level = way.charged_nano[begin] + bought
        end = next((n for n in range(begin, len(way.charged_nano)) if way.charged_nano[n] >= level), None)
        if end is None or bought <= 0:
            begin += HOURS
            continue
        if way.is_whole(begin, end):
            yield from _asked(way, begin, end, level)
        begin = end


def _asked(way: Track, begin: int, end: int, level: int) -> Iterator[Case]:
    last = way.charged_nano[end] - way.charged_nano[end - 1]
    late_ms = (level - way.charged_nano[end - 1]) * MS_PER_HOUR // max(1, last)
    for n in range(begin, end - 1):
        if n in way.states:
            yield Case("rundown", n, level - way.charged_nano[n], (end - 1 - n) * MS_PER_HOUR + late_ms)


def answer(way: Track, tariff: str, case: Case, parameters: Parameters) -> Answer:
    purse = Purse(way.plan, ACCOUNT, way.states[case.index], case.funds_nano)
    left = time_left(purse, way.histories[case.index], parameters, Calendar(way.home.zone))
    past = [wh for wh in way.home.hours_wh[case.index - HOURS : case.index] if wh is not None]
    mean = sum(past) // len(past) if past else 0
    spans = (_span(way, case, at) for at in (runs_out_ms(purse, (mean,) * LONGEST_HOURS), left.central_ms, left.cautious_ms))
    return Answer(way.home.name, tariff, case, *spans)


def _span(way: Track, case: Case, at_ms: int | None) -> int:
    longest = LONGEST_HOURS * MS_PER_HOUR
    return longest if at_ms is None else min(longest, at_ms - way.home.at_ms(case.index))
