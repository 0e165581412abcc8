"""A schedule as it travels in a SCHEDULE command, and what it came to in that command's receipt.

* Programme A: time frames at the account's own supply, one span or windows that recur in it. Programme B: an event at a
  supply of somebody else, one span, paid by the requester (seed 002, scenarios 2 and 3).
* SUPPLY: the supply is switched on or kept in its windows, and goes back to what it was. OFF: it is off in them, and comes
  back.
* `credit_nano` funds an event; `credit_wh` is the energy it was converted from at the tariff in force (C3-IE3).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

MINUTES_A_DAY = 1_440
LONGEST_MS = 366 * 86_400_000
ALL_WEEK = 0b111_1111


class Programme(StrEnum):
    A = "A"
    B = "B"


class Action(IntEnum):
    SUPPLY = 1
    OFF = 2


@dataclass(frozen=True, slots=True)
class Window:
    """Recurs on `weekdays` (bit 0 is Monday), by the local clock. `to_minute` not after `from_minute` ends the next day."""

    weekdays: int = key(0)
    from_minute: int = key(1)
    to_minute: int = key(2)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Half-open: `end_ms` belongs to whatever follows. Without windows the span itself is the only one. `account_no` is
    behind the meter; `requester_no` pays (0: that account itself)."""

    schedule_no: int = key(0)
    programme: str = key(1)
    account_no: int = key(2)
    zone: str = key(3)
    start_ms: int = key(4)
    end_ms: int = key(5)
    windows: tuple[Window, ...] = key(6, ())
    action: int = key(7, int(Action.SUPPLY))
    currency: str = key(8, "")
    credit_nano: int = key(9, 0)
    credit_wh: int = key(10, 0)
    requester_no: int = key(11, 0)
    title: str = key(12, "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a schedule came to: the receipt's result, and the detail of its journal entries. `held` names the tests that keep a
    step from being taken."""

    schedule_no: int = key(0)
    step: str = key(1)
    at_ms: int = key(2)
    spent_nano: int = key(3, 0)
    spent_wh: int = key(4, 0)
    rest_nano: int = key(5, 0)
    runs: int = key(6, 0)
    held: tuple[str, ...] = key(7, ())


class Step(StrEnum):
    """What the journal says of a schedule."""

    STARTED = "started"
    OPENED = "window_opened"
    CLOSED = "window_closed"
    ENDED = "ended"
    USED = "used"


def fault_of(schedule: Schedule) -> str:
    """What is wrong with it, or "": for whoever enters it, and for the edge that must not trust."""
    windows = schedule.windows
    rules = (
        (schedule.programme in list(Programme), "the programme is A or B"),
        (schedule.action in list(Action), "the action is supply or off"),
        (schedule.start_ms < schedule.end_ms, "the end is not after the start"),
        (schedule.end_ms - schedule.start_ms <= LONGEST_MS, "a schedule lasts at most a year"),
        (all(_is_sound(w) for w in windows), "a window names weekdays and minutes of a day"),
        (schedule.programme != Programme.B or not windows, "an event is one span without windows"),
        (schedule.programme != Programme.B or schedule.action == Action.SUPPLY, "an event switches the supply on"),
        (schedule.programme != Programme.B or schedule.requester_no > 0, "an event names who pays"),
        (schedule.credit_nano >= 0 and schedule.credit_wh >= 0, "credit is not negative"),
    )
    return next((text for holds, text in rules if not holds), "")


def _is_sound(window: Window) -> bool:
    minutes = 0 <= window.from_minute < MINUTES_A_DAY and 0 < window.to_minute <= MINUTES_A_DAY
    return 0 < window.weekdays <= ALL_WEEK and minutes and window.from_minute != window.to_minute


def to_bytes(schedule: Schedule) -> bytes:
    return encode(schedule)


def schedule_from(data: bytes) -> Schedule:
    """Raises ContractError, also for one that makes no sense."""
    schedule = decode(Schedule, data)
    fault = fault_of(schedule)
    if fault:
        raise ContractError(f"schedule {schedule.schedule_no}: {fault}")
    return schedule
