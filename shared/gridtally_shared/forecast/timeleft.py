"""Time left: the record a display shows and a notice is decided on. Pure.

* `central_ms` is the likely instant of the last money, `cautious_ms` the one to warn by: in at least 95 of 100 cases it is not
  later than the truth (docs/forecast.md has the figures). Both are estimates and are called so wherever they are shown.
* None is "not within `HORIZON_HOURS`", unless the basis is NONE: then nothing is known.
* Nothing that moves money or a switch depends on it.
"""

from __future__ import annotations

from enum import StrEnum

from gridtally_shared.forecast.history import Calendar, LoadHistory
from gridtally_shared.forecast.outlook import outlook
from gridtally_shared.forecast.parameters import HOURS, Parameters
from gridtally_shared.forecast.walk import Purse, runs_out_ms
from gridtally_shared.records import dataclass

HORIZON_HOURS = 28 * 24
SOON_HOURS = 7 * 24
LEAST_HOURS = 2
YOUNG_DAYS = 14


class Basis(StrEnum):
    """On what it stands. NONE: too little is known for a number; SPENT: nothing is left; YOUNG: fewer than 14 days of history."""

    NONE = "none"
    SPENT = "spent"
    YOUNG = "young"
    HISTORY = "history"


@dataclass(frozen=True, slots=True)
class TimeLeft:
    """`as_of_ms`: the time of the reading it was made from."""

    as_of_ms: int
    central_ms: int | None
    cautious_ms: int | None
    basis: Basis


def span_ms(left: TimeLeft | None, as_of_ms: int = 0) -> int | None:
    """The likely span from `as_of_ms`, or from the reading it was made from where that is later; None where nothing is known or the
    money outlasts the forecast."""
    if left is None or left.central_ms is None:
        return None
    return max(0, left.central_ms - max(as_of_ms, left.as_of_ms))


def time_left(purse: Purse, history: LoadHistory, parameters: Parameters, calendar: Calendar) -> TimeLeft:
    """From the last charged instant on, for the funds there are."""
    as_of_ms = purse.state.counted_ms
    if purse.funds_nano <= 0:
        return TimeLeft(as_of_ms, as_of_ms, as_of_ms, Basis.SPENT)
    if history.hours < LEAST_HOURS:
        return TimeLeft(as_of_ms, None, None, Basis.NONE)
    central, cautious = None, None
    for hours in (SOON_HOURS, HORIZON_HOURS):
        ahead = outlook(history, parameters, calendar, as_of_ms, hours)
        cautious = cautious if cautious is not None else runs_out_ms(purse, ahead.cautious_wh)
        if cautious is not None:
            central = runs_out_ms(purse, ahead.central_wh)
        if central is not None:
            break
    return TimeLeft(as_of_ms, central, cautious, Basis.YOUNG if history.hours < YOUNG_DAYS * HOURS else Basis.HISTORY)
