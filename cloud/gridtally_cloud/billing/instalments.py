"""An instalment arrangement: arrears parted into dated amounts, and whether it is kept. Pure.

* The amounts are whole coins by largest remainder and sum exactly to the arrears.
* An instalment is paid when what is open of the arranged bills is no more than the instalments after it. Payments pay the oldest bill
  first, so money that comes in while it runs pays the arrangement before newer bills.
* It is broken on the day after the last day and the grace of the first instalment that is not paid; the rest is due then.

Source: issue 5 line 4; mdm.md C.1 (ledger).
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Sequence
from datetime import date
from enum import StrEnum
from itertools import pairwise

from gridtally_cloud.store.days import EPOCH, date_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

MOST = 60


class ArrangementState(StrEnum):
    RUNNING = "running"
    KEPT = "kept"
    BROKEN = "broken"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Instalment:
    """To be paid until the end of a local day."""

    due_day: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What was agreed on a day, and how long after an instalment's last day it still counts as paid in time."""

    made_day: int
    grace_days: int
    instalments: tuple[Instalment, ...]

    @property
    def arrears_nano(self) -> int:
        return sum(each.amount_nano for each in self.instalments)


@dataclass(frozen=True, slots=True)
class Standing:
    """`ended_day`: the day from which the arrangement holds no more; None while it runs."""

    state: ArrangementState
    rest_nano: int
    ended_day: int | None = None


def parted(total_nano: int, weights: Sequence[int], coin_nano: int) -> tuple[int, ...]:
    """An amount in parts like the weights, each of whole coins, by largest remainder; what is below a coin stands with the last one."""
    coins, below_nano = divmod(total_nano, coin_nano)
    whole = [coins * weight // sum(weights) for weight in weights]
    remainders = [coins * weight % sum(weights) for weight in weights]
    first = sorted(range(len(weights)), key=lambda place: (-remainders[place], place))
    for place in first[: coins - sum(whole)]:
        whole[place] += 1
    parts = [part * coin_nano for part in whole]
    return (*parts[:-1], parts[-1] + below_nano)


def monthly(first_day: int, count: int) -> tuple[int, ...]:
    """The same day of each month, its last one where the month is shorter."""
    first = date_of(first_day)
    return tuple((_in_month(first, more) - EPOCH).days for more in range(count))


def _in_month(first: date, more: int) -> date:
    year, month = divmod(first.year * 12 + first.month - 1 + more, 12)
    return date(year, month + 1, min(first.day, calendar.monthrange(year, month + 1)[1]))


def planned(total_nano: int, days: Sequence[int], weights: Sequence[int], coin_nano: int, today: int) -> tuple[Instalment, ...]:
    """Raises ConfigError where the days or shares can not be kept."""
    if not 1 <= len(days) <= MOST:
        raise ConfigError("instalments", len(days), f"write 1 to {MOST}")
    if days[0] < today or any(later <= earlier for earlier, later in pairwise(days)):
        raise ConfigError("days", ", ".join(str(date_of(day)) for day in days), "name days from today on, each later than the one before")
    if len(weights) != len(days) or min(weights) < 1:
        raise ConfigError("shares", ",".join(map(str, weights)), f"write {len(days)} whole numbers above zero, one for each instalment")
    amounts = parted(total_nano, weights, coin_nano)
    if min(amounts) <= 0:
        raise ConfigError("instalments", len(days), "there are more of them than coins to pay: write fewer")
    return tuple(Instalment(day, amount) for day, amount in zip(days, amounts, strict=True))


def standing(plan: Plan, open_before: Callable[[int], int], open_nano: int, today: int) -> Standing:
    """How an arrangement stands at the beginning of `today`. `open_before(day)`: what was open of the arranged bills when a day began."""
    left_nano, late_day = plan.arrears_nano, today + 1
    for each in plan.instalments:
        left_nano -= each.amount_nano
        late_day = each.due_day + plan.grace_days + 1
        if late_day <= today and open_before(late_day) > left_nano:
            return Standing(ArrangementState.BROKEN, open_nano, late_day)
    if late_day <= today:
        return Standing(ArrangementState.KEPT, open_nano, late_day)
    return Standing(ArrangementState.RUNNING if open_nano > 0 else ArrangementState.KEPT, open_nano)


def left_of(plan: Plan, rest_nano: int) -> tuple[Instalment, ...]:
    """What is still to be paid of which instalment, the last ones being paid last."""
    found = []
    for each in reversed(plan.instalments):
        part_nano = min(each.amount_nano, rest_nano)
        rest_nano -= part_nano
        found += [Instalment(each.due_day, part_nano)] if part_nano > 0 else []
    return tuple(reversed(found))
