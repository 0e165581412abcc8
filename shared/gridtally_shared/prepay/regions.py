"""The nine orthogonal regions of a prepaid supply (prepayment.md 3.1), the words every part of the engine speaks.

* Values are stored and shown: they are never renamed.
* `LIMITED` and `PROTECTED` carry a step or a reason beside them in `Regions`.
"""

from __future__ import annotations

from enum import StrEnum

from gridtally_shared.contract.messages import ClockState
from gridtally_shared.records import dataclass


class Mode(StrEnum):
    """A: which contract of payment holds."""

    NEW = "new"
    PREPAID = "prepaid"
    POSTPAID = "postpaid"
    CONVERTING = "converting"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"


class Funds(StrEnum):
    """B: what is there to spend."""

    IN_CREDIT = "in_credit"
    LOW = "low"
    EC_OFFERED = "ec_offered"
    EC_IN_USE = "ec_in_use"
    OVERDRAWN = "overdrawn"
    EXHAUSTED = "exhausted"


class Entitlement(StrEnum):
    """C: how much supply the account may have."""

    FULL = "full"
    LIMITED = "limited"
    GRACE = "grace"
    PROTECTED = "protected"
    CUT_DUE = "cut_due"
    CUT = "cut"
    RESTORE_DUE = "restore_due"


class Switch(StrEnum):
    """D: the switch as far as it is known."""

    CLOSED = "closed"
    OPEN = "open"
    ARMED = "armed"
    MOVING = "moving"
    UNKNOWN = "unknown"
    FAULT = "fault"
    NOT_FITTED = "not_fitted"


class LoadLimit(StrEnum):
    """E: the watch over a load limit."""

    IDLE = "idle"
    OVER = "over"
    TRIPPED = "tripped"
    RECLOSED_ONCE = "reclosed_once"
    LOCKED_MANUAL = "locked_manual"


class Link(StrEnum):
    """G: cloud and meter."""

    ON = "on"
    OFF = "off"
    STALE = "stale"
    LOST = "lost"


class Ledger(StrEnum):
    """H: the journal against the cloud's mirror. F, the clock, is the contract's `ClockState`."""

    OK = "ok"
    BEHIND = "behind"
    RECOVERING = "recovering"
    FORKED = "forked"
    READ_ONLY = "read_only"


class Schedule(StrEnum):
    """S: a time frame (programme A) or an event (programme B) at this supply."""

    NONE = "none"
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Regions:
    """Where one supply stands. `step` is the limit step of LIMITED, `reason` why it is PROTECTED.

    The engine decides `mode`, `funds`, `entitlement`, `limit` and `schedule`; the others follow what is observed."""

    mode: Mode = Mode.NEW
    funds: Funds = Funds.IN_CREDIT
    entitlement: Entitlement = Entitlement.FULL
    switch: Switch = Switch.UNKNOWN
    limit: LoadLimit = LoadLimit.IDLE
    clock: ClockState = ClockState.UNTRUSTED
    cloud: Link = Link.OFF
    meter: Link = Link.LOST
    ledger: Ledger = Ledger.OK
    schedule: Schedule = Schedule.NONE
    step: int = 0
    reason: str = ""
