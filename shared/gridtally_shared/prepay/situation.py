"""One moment of one supply under one policy: what every guard of the engine is a function of."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Any

from gridtally_shared.prepay.calendars import Region, region_of
from gridtally_shared.prepay.facts import Facts, Happening
from gridtally_shared.prepay.policy import Policy
from gridtally_shared.prepay.protection import Calendar, in_season, year_place
from gridtally_shared.prepay.regions import Regions, Schedule
from gridtally_shared.prepay.standing import Standing
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Situation:
    """`memo` keeps results of tests, so that several guards of one moment ask once."""

    facts: Facts
    policy: Policy
    standing: Standing
    happening: Happening | None = None
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def regions(self) -> Regions:
        return self.standing.regions

    @property
    def now_ms(self) -> int:
        return self.facts.now_ms

    @property
    def scheduled(self) -> bool:
        """Whether a time frame or an event is running here."""
        return Schedule.RUNNING in (self.regions.schedule, self.facts.schedule)

    def since(self, moment_ms: int | None) -> int:
        """How long ago; 0 for what has not begun."""
        return self.now_ms - moment_ms if moment_ms is not None else 0

    def calendar(self) -> Calendar:
        return calendar_of(self.policy, self.region)

    @property
    def region(self) -> Region:
        return self.facts.region or region_of(self.facts.account, (), self.now_ms)

    def flags_protecting(self) -> tuple[str, ...]:
        """The account's flags that protect it today, by the local day of either end of the clock's uncertainty."""
        rules = [r for r in self.policy.protected.flags if r.flag in self.facts.account.flags]
        if not rules:
            return ()
        days = self._days()
        return tuple(
            r.flag for r in rules
            if r.first is None or r.until is None or not days or any(in_season(d, r.first, r.until) for d in days)
        )  # fmt: skip

    def _days(self) -> tuple[int, ...]:
        zone = self.region.zone
        if zone is None or not self.region.known:
            return ()
        ends = (self.now_ms - self.facts.uncertainty_ms, self.now_ms + self.facts.uncertainty_ms)
        return tuple(year_place(datetime.fromtimestamp(ms // 1000, zone).date()) for ms in ends)


def calendar_of(policy: Policy, region: Region) -> Calendar:
    """The times in which no step down may touch an account of this region; a region that is not known protects always."""
    return Calendar(policy.protected, region.zone if region.known else None, region.holidays)
