"""The 12 x 24 schedules of a URDB rate as seasons, day types and hours of a tariff document. Pure.

An hour of ours has one period, a URDB rate up to three numbers for it: energy period, demand period, flat demand of the month. Each
combination that occurs is a period of ours, named by them (`p1`, `p1d0f0`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

Json = dict[str, Any]
Cell = tuple[int, int, int]
LAST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
WORK, REST = {"code": "work", "weekdays": ["mon", "tue", "wed", "thu", "fri"]}, {"code": "rest", "weekdays": ["sat", "sun"]}
HOURS, MONTHS = 24, 12


@dataclass(frozen=True, slots=True)
class Clock:
    """For each month its working day and its day of rest, hour by hour: (energy, demand, flat demand), -1 where there is none."""

    months: tuple[tuple[tuple[Cell, ...], tuple[Cell, ...]], ...]

    def cells(self) -> tuple[Cell, ...]:
        return tuple(sorted({cell for month in self.months for day in month for cell in day}))

    def periods_by(self, axis: int) -> Iterator[tuple[int, list[str]]]:
        """The periods of ours that belong to each number of one of the three."""
        for number in sorted({cell[axis] for cell in self.cells()} - {-1}):
            yield number, [period_of(cell) for cell in self.cells() if cell[axis] == number]

    def version(self) -> Json:
        """Seasons, day types and hours. A season is a run of months that are alike."""
        runs = [list(run) for _, run in groupby(range(MONTHS), lambda m: self.months[m])]
        seasons = [{"code": f"s{run[0] + 1}", "from": f"{run[0] + 1:02d}-01", "to": f"{run[-1] + 1:02d}-{LAST[run[-1]]:02d}"}
                   for run in runs]  # fmt: skip
        hours = []
        for run, season in zip(runs, seasons, strict=True):
            work, rest = self.months[run[0]]
            same = work == rest
            hours += [{"seasons": [season["code"]], "days": ["work", "rest"] if same else ["work"], "bands": bands_of(work)}]
            hours += [] if same else [{"seasons": [season["code"]], "days": ["rest"], "bands": bands_of(rest)}]
        return {"seasons": seasons, "day_types": [WORK, REST], "hours": hours}


def period_of(cell: Cell) -> str:
    return "".join(f"{letter}{number}" for letter, number in zip("pdf", cell, strict=True) if number >= 0)


def bands_of(day: tuple[Cell, ...]) -> list[Json]:
    marks = [h for h in range(HOURS) if h == 0 or day[h] != day[h - 1]]
    ends = [*marks[1:], HOURS]
    return [{"from": f"{a:02d}:00", "to": f"{b:02d}:00", "period": period_of(day[a])} for a, b in zip(marks, ends, strict=True)]


def clock_of(rate: Json) -> Clock:
    """Raises ConfigError for a schedule that is not 12 rows of 24 numbers of periods that are there."""
    if not isinstance(rate.get("energyratestructure"), list) or not rate["energyratestructure"]:
        raise ConfigError("energyratestructure", "", "the rate has no energy prices: there is nothing to bill by")
    energy = _grids(rate, "energy", "energyratestructure", 0)
    demand = _grids(rate, "demand", "demandratestructure", -1)
    flat = _flat(rate)
    return Clock(tuple(
        (_day(energy[0][m], demand[0][m], flat[m]), _day(energy[1][m], demand[1][m], flat[m])) for m in range(MONTHS)
    ))  # fmt: skip


def _day(energy: list[int], demand: list[int], flat: int) -> tuple[Cell, ...]:
    return tuple((e, d, flat) for e, d in zip(energy, demand, strict=True))


def _grids(rate: Json, what: str, structure: str, none: int) -> tuple[list[list[int]], list[list[int]]]:
    """Working days and days of rest; one number everywhere where the rate has no schedule."""
    if not rate.get(structure):
        row = [[none] * HOURS] * MONTHS
        return row, row
    names = (f"{what}weekdayschedule", f"{what}weekendschedule")
    if not any(rate.get(name) for name in names):
        row = [[0] * HOURS] * MONTHS
        return row, row
    work, rest = (_grid(name, rate.get(name), len(rate[structure])) for name in names)
    return work, rest


def _grid(name: str, given: Any, periods: int) -> list[list[int]]:
    if not isinstance(given, list) or len(given) != MONTHS or any(not isinstance(row, list) or len(row) != HOURS for row in given):
        raise ConfigError(name, "", "write 12 rows of 24 numbers, one a month")
    return [[_place(f"{name}[{m}][{h}]", cell, periods) for h, cell in enumerate(row)] for m, row in enumerate(given)]


def _place(key: str, cell: Any, periods: int) -> int:
    if isinstance(cell, bool) or str(cell) not in {str(n) for n in range(periods)}:
        raise ConfigError(key, cell, f"no such period: the rate has 0 to {periods - 1}")
    return int(cell)


def _flat(rate: Json) -> list[int]:
    structure, months = rate.get("flatdemandstructure"), rate.get("flatdemandmonths")
    if not structure:
        return [-1] * MONTHS
    if not isinstance(months, list) or len(months) != MONTHS:
        raise ConfigError("flatdemandmonths", "", "write 12 numbers, one a month")
    return [_place(f"flatdemandmonths[{m}]", cell, len(structure)) for m, cell in enumerate(months)]
