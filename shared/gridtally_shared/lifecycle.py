"""The one life cycle of a command (architecture.md section 3), used by cloud and edge alike.

The table below is all there is to say about it: (state, next) pairs that may happen. A receipt that names a step the
table does not allow changes nothing. Terminal states never change; the same cmd_id again returns the stored receipt.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from gridtally_shared.contract.messages import CommandType


class CommandState(IntEnum):
    ACCEPTED = 1
    SCHEDULED = 2
    QUEUED = 3
    QUARANTINED = 4
    DELIVERED = 5
    EXECUTING = 6
    DISPLAYED = 7
    READ = 8
    ANSWERED = 9
    DONE = 20
    REFUSED = 21
    FAILED = 22
    EXPIRED = 23
    CANCELLED = 24


S = CommandState
TERMINAL = frozenset({S.DONE, S.REFUSED, S.FAILED, S.EXPIRED, S.CANCELLED})

NEXT: dict[CommandState, frozenset[CommandState]] = {
    S.ACCEPTED: frozenset({S.SCHEDULED, S.QUEUED, S.QUARANTINED, S.REFUSED, S.CANCELLED, S.EXPIRED}),
    S.SCHEDULED: frozenset({S.QUEUED, S.CANCELLED, S.EXPIRED}),
    S.QUARANTINED: frozenset({S.QUEUED, S.REFUSED, S.CANCELLED, S.EXPIRED}),
    S.QUEUED: frozenset({S.DELIVERED, S.EXECUTING, S.DISPLAYED, *TERMINAL}),
    S.DELIVERED: frozenset({S.EXECUTING, S.DISPLAYED, *TERMINAL}),
    S.EXECUTING: frozenset({S.DONE, S.FAILED, S.REFUSED, S.EXPIRED, S.CANCELLED}),
    S.DISPLAYED: frozenset({S.READ, S.ANSWERED, S.DONE, S.EXPIRED, S.CANCELLED}),
    S.READ: frozenset({S.ANSWERED, S.DONE, S.EXPIRED, S.CANCELLED}),
    S.ANSWERED: frozenset({S.DONE, S.FAILED}),
    **{terminal: frozenset() for terminal in TERMINAL},
}


def may_follow(state: CommandState, following: CommandState) -> bool:
    """Whether a command in `state` may go to `following`."""
    return following in NEXT[state]


class Reason(StrEnum):
    """Why a command was refused, failed or expired. The code travels; texts are local."""

    SIGNATURE = "signature"
    NOT_FOR_ME = "not_for_me"
    OVERTAKEN = "overtaken"
    TOO_LATE = "too_late"
    CLOCK_UNTRUSTED = "clock_untrusted"
    UNKNOWN_METER = "unknown_meter"
    UNSUPPORTED = "unsupported"
    WRONG_SERIAL = "wrong_serial"
    NO_ANSWER = "no_answer"
    METER_FAULT = "meter_fault"
    METER_BUSY = "meter_busy"
    SWITCH_STUCK = "switch_stuck"
    RATE_LIMIT = "rate_limit"
    HELD = "held"
    PROTECTED = "protected"
    LEASE_ENDED = "lease_ended"
    MALFORMED = "malformed"
    CANCELLED = "cancelled"
    LOAD_SIDE_LIVE = "load_side_live"
    NO_RECEIPT = "no_receipt"
    UNANSWERED = "unanswered"
    NOT_READ_BACK = "not_read_back"
    WRONG_FORM = "wrong_form"
    SUPERSEDED = "superseded"
    OVERLAP = "overlap"
    RESCHEDULED = "rescheduled"
    ENDED_EARLY = "ended_early"
    REPLACED = "replaced"
    TOKEN_REFUSED = "token_refused"
    NO_FLOW_LIMIT = "no_flow_limit"
    PAID = "paid"


class SafetyClass(IntEnum):
    """reliability-security.md section 5: what a command may do decides its expiry and what an untrusted clock forbids."""

    ROUTINE = 1
    RESTORE = 2
    CRITICAL = 3


MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

COMMAND_RULES: dict[CommandType, tuple[SafetyClass, int, int]] = {
    # type: (class, priority (lower first), time to live in ms)
    CommandType.SWITCH_OPEN: (SafetyClass.CRITICAL, 10, 15 * MINUTE_MS),
    CommandType.SWITCH_CLOSE: (SafetyClass.RESTORE, 5, 72 * HOUR_MS),
    CommandType.READ_INSTANT: (SafetyClass.ROUTINE, 30, 24 * HOUR_MS),
    CommandType.READ_INTERVALS: (SafetyClass.ROUTINE, 40, 7 * 24 * HOUR_MS),
    CommandType.READ_EVENTS: (SafetyClass.ROUTINE, 40, 7 * 24 * HOUR_MS),
    CommandType.READ_SWITCH: (SafetyClass.ROUTINE, 20, 24 * HOUR_MS),
    CommandType.SET_CLOCK: (SafetyClass.ROUTINE, 30, 24 * HOUR_MS),
    CommandType.READ_DAILY: (SafetyClass.ROUTINE, 40, 7 * 24 * HOUR_MS),
    CommandType.READ_BILLING: (SafetyClass.ROUTINE, 40, 7 * 24 * HOUR_MS),
    CommandType.READ_NAME_PLATE: (SafetyClass.ROUTINE, 40, 7 * 24 * HOUR_MS),
    CommandType.READ_SETTINGS: (SafetyClass.ROUTINE, 40, 7 * 24 * HOUR_MS),
    CommandType.WRITE_SETTINGS: (SafetyClass.ROUTINE, 30, 7 * 24 * HOUR_MS),
    CommandType.RESET: (SafetyClass.ROUTINE, 30, 24 * HOUR_MS),
    CommandType.RUN_DIAGNOSTICS: (SafetyClass.ROUTINE, 30, 24 * HOUR_MS),
    CommandType.MESSAGE: (SafetyClass.ROUTINE, 50, 7 * 24 * HOUR_MS),
    CommandType.CANCEL: (SafetyClass.RESTORE, 4, 7 * 24 * HOUR_MS),
    CommandType.TEST_SUPPLY: (SafetyClass.ROUTINE, 8, 2 * MINUTE_MS),
    CommandType.TOKEN: (SafetyClass.ROUTINE, 15, 72 * HOUR_MS),
    CommandType.LIMIT: (SafetyClass.ROUTINE, 10, 24 * HOUR_MS),
    CommandType.SCHEDULE: (SafetyClass.RESTORE, 25, 400 * 24 * HOUR_MS),
}

SENT_AHEAD_MS = 24 * HOUR_MS
"""What is to happen later is at the edge this long before its time, or at once when its time is nearer (C3-NFR8)."""

RESEND_AFTER_MS = 45_000
"""A switch command without a receipt is sent again after this time (C3-NFR10)."""
