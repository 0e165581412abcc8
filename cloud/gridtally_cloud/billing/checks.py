"""What must be right before a bill or statement is issued. A finding is a row; a blocking one stops the issue."""

from __future__ import annotations

from enum import StrEnum

from gridtally_shared.records import dataclass


class BillReason(StrEnum):
    UNKNOWN_BILL = "unknown_bill"
    BAD_PERIOD = "bad_period"
    NOT_OVER = "period_not_over"
    OVERLAPS = "overlaps"
    NO_DATA = "no_data"
    JOURNAL_STOPPED = "journal_stopped"
    JOURNAL_BEHIND = "journal_behind"
    REGISTER_MISSING = "register_missing"
    REGISTER_WENT_BACK = "register_went_back"
    NOT_OPEN_YET = "account_not_open"
    INTERVALS_MISSING = "intervals_missing"
    INTERVALS_NEEDED = "intervals_needed"
    CANCELLED = "bill_cancelled"
    NOT_A_BILL = "not_a_bill"
    ESTIMATED_TOO_OFTEN = "estimated_too_often"
    TOO_LATE_FOR_MORE = "too_late_for_more"
    TOO_YOUNG = "too_young"
    NOT_FINAL = "not_final"
    NOTHING_CHANGED = "nothing_changed"
    NOTHING_RESTATED = "nothing_restated"


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` says what is wrong and what to do."""

    reason: BillReason
    text: str
    blocking: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks look at. `covered_ms`: how far journal or readings reach. `overlapping`: a bill already issued that
    shares time with the period."""

    from_ms: int
    to_ms: int
    at_ms: int
    opened_ms: int
    covered_ms: int
    journal_stopped: bool = False
    overlapping: str = ""
    missing_intervals: int = 0


def findings(facts: Facts) -> tuple[Finding, ...]:
    """All findings, blocking ones first."""
    rows = (
        (facts.to_ms <= facts.from_ms, BillReason.BAD_PERIOD, "The period ends before it begins: turn the two days round.", True),
        (facts.to_ms > facts.at_ms, BillReason.NOT_OVER, "The period is not over yet: issue it after its last day.", True),
        (facts.to_ms <= facts.opened_ms, BillReason.NOT_OPEN_YET, "The account was opened after this period.", True),
        (bool(facts.overlapping), BillReason.OVERLAPS, f"{facts.overlapping} already covers part of this period.", True),
        (facts.journal_stopped, BillReason.JOURNAL_STOPPED, "The mirrored journal has a problem nobody has resolved: see the "
         "account's ledger check first.", True),
        (facts.covered_ms == 0, BillReason.NO_DATA, "Nothing has been received for this account yet.", True),
        (0 < facts.covered_ms < facts.to_ms, BillReason.JOURNAL_BEHIND, "Data do not reach the end of the period yet: wait "
         "until the concentrator has sent the rest.", True),
        (facts.missing_intervals > 0, BillReason.INTERVALS_MISSING, f"{facts.missing_intervals} intervals are missing; the "
         "amounts come from the register and are complete.", False),
    )  # fmt: skip
    return tuple(Finding(reason, text, blocking) for holds, reason, text, blocking in rows if holds)
