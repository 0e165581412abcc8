"""What the schedule services take and give."""

from __future__ import annotations

from enum import StrEnum

from gridtally_shared.records import dataclass
from gridtally_shared.schedules.document import Action, Programme, Window


def transfer_reference(schedule_no: int, kind: str) -> str:
    """What the instrument stands for that moves an event's money from (`funding`) or to (`return`) a prepaid requester."""
    return f"event|{schedule_no}|{kind}"


class ScheduleState(StrEnum):
    """Follows the command that carries it. SENT: on its way; HELD: the edge has it and waits for its time."""

    PLANNED = "planned"
    SENT = "sent"
    HELD = "held"
    RUNNING = "running"
    ENDED = "ended"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    MISSED = "missed"


class ScheduleReason(StrEnum):
    """Why a schedule can not be booked or changed."""

    OVERLAP = "already_scheduled"
    NOT_SET_UP = "account_not_set_up"
    NO_FUNDS = "not_enough_funds"
    CURRENCY = "other_currency"
    MALFORMED = "malformed"
    TOO_LATE = "too_late"
    UNKNOWN = "unknown_schedule"


@dataclass(frozen=True, slots=True)
class Booking:
    """A wish for a schedule. `requester_no` is who pays (programme B; 0: the account itself). `credit_wh` is converted at the
    tariff in force; `idempotency_key` makes a repeated wish return the first schedule."""

    programme: Programme
    account_no: int
    start_ms: int
    end_ms: int
    by: str
    windows: tuple[Window, ...] = ()
    action: Action = Action.SUPPLY
    requester_no: int = 0
    credit_nano: int = 0
    credit_wh: int = 0
    title: str = ""
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as a page shows it. `spent_*` once it has ended; `cmd_id` is the command that carries it now."""

    schedule_no: int
    programme: Programme
    meter_no: int
    account_no: int
    requester_no: int
    title: str
    zone: str
    start_ms: int
    end_ms: int
    windows: tuple[Window, ...]
    action: Action
    currency: str
    credit_nano: int
    credit_wh: int
    state: ScheduleState
    reason: str
    state_at_ms: int
    cmd_id: bytes
    spent_nano: int | None
    spent_wh: int | None
    created_by: str
    created_ms: int

    @property
    def is_open(self) -> bool:
        return self.state in (ScheduleState.PLANNED, ScheduleState.SENT, ScheduleState.HELD, ScheduleState.RUNNING)


@dataclass(frozen=True, slots=True)
class Slot:
    """Whether a time is free at a supply: the three replies of C3-IE2. `clash` is the schedule that holds it."""

    free: bool
    reason: str = ""
    text: str = ""
    clash: ScheduleView | None = None


@dataclass(frozen=True, slots=True)
class MoneyRow:
    """One posting of an event's money."""

    kind: str
    holder: str
    amount_nano: int
    at_ms: int
    reference: str
