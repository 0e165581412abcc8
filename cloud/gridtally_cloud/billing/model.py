"""Bills as values: what stands on them and how every amount came about.

* A bill is a function of its inputs (`statement.py`, `postpaid.py`); once issued it is stored whole and never changes.
* Exact amounts are nano-currency. The amount printed is rounded half-even to the coin, line by line; what the rounding of
  lines leaves over is a line of its own (`LineKind.ROUNDING`), so the printed column always adds up.
"""

from __future__ import annotations

from enum import StrEnum

from gridtally_shared.records import dataclass


class BillKind(StrEnum):
    STATEMENT = "statement"
    BILL = "bill"


class LineKind(StrEnum):
    TOP_UP = "top_up"
    REFUND = "refund"
    ENERGY = "energy"
    FIXED = "fixed"
    TAX_ENERGY = "tax_energy"
    TAX_FIXED = "tax_fixed"
    CORRECTION = "correction"
    CORRECTION_DEBT = "correction_debt"
    DEBT_TAKEN = "debt_taken"
    EMERGENCY = "emergency"
    CONVERSION = "conversion"
    ARREARS = "arrears"
    CANCELLED = "cancelled"
    PAYMENT = "payment"
    DEPOSIT = "deposit"
    LATE = "late"
    LATE_BACK = "late_back"
    ASSESSMENT = "assessment"
    ASSESSMENT_BACK = "assessment_back"
    EVENT = "event"
    ROUNDING = "rounding"
    OTHER = "other"


MONEY_KINDS = frozenset({LineKind.TOP_UP, LineKind.REFUND, LineKind.PAYMENT, LineKind.CONVERSION, LineKind.DEPOSIT})
CHARGE_KINDS = frozenset({LineKind.ENERGY, LineKind.FIXED, LineKind.TAX_ENERGY, LineKind.TAX_FIXED, LineKind.OTHER})
ADDED_KINDS = frozenset({LineKind.LATE, LineKind.LATE_BACK, LineKind.ASSESSMENT, LineKind.ASSESSMENT_BACK, LineKind.EVENT})
"""Charges of a bill that its tariff and use do not make: they were posted before it, and it shows them."""


class BillState(StrEnum):
    ISSUED = "issued"
    PART_PAID = "part_paid"
    PAID = "paid"
    CARRIED = "carried"
    CANCELLED = "cancelled"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Reading:
    """A register reading a line rests on. `ahead_wh`: how far it is counted ahead of what the meter shows, behind the end of a register."""

    at_ms: int
    register_wh: int
    estimated: bool = False
    ahead_wh: int = 0

    @property
    def shown_wh(self) -> int:
        """What stands on the meter."""
        return self.register_wh - self.ahead_wh


@dataclass(frozen=True, slots=True)
class Turn:
    """A register shows less at `at_ms` than at `before_ms`: it came to its end, `end_wh`, or was set back (0). `used_wh` moved meanwhile;
    `how` is known why (turns.py)."""

    at_ms: int
    how: str
    before_wh: int
    after_wh: int
    used_wh: int
    end_wh: int
    before_ms: int

    @property
    def ahead_wh(self) -> int:
        """How far counting is ahead of what is shown, behind it."""
        return self.before_wh + self.used_wh - self.after_wh


@dataclass(frozen=True, slots=True)
class DataQuality:
    """How many intervals of the period were measured, estimated, or are missing. Of the first two: `edited` were set by a person,
    `untrusted` are marked untrustworthy."""

    measured: int = 0
    estimated: int = 0
    missing: int = 0
    edited: int = 0
    untrusted: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """`quantity` x `price_nano` = `amount_nano`, exactly, where a price is given: Wh x nano per Wh, days x nano per day,
    or a base in nano x `rate_ppm`. `form`, `rate` and `per` are those of a tariff's line that is none of these; `quantity` is then
    what is counted in `unit`, 0 where the price is only a part of the amount. Of a charge for late payment `quantity` are the days,
    `base_nano` what was open, `rate` 10^-9 percent, `form` the bound that made the amount, if one did; of an
    assessment `quantity` are the Wh, `rate` the nano of a kWh, `rate_ppm` the multiple, `form` the rule. The sign is that of the account:
    money in is positive, charges are negative on a statement and positive on a bill."""

    kind: LineKind
    amount_nano: int
    shown_nano: int
    from_ms: int
    to_ms: int
    quantity: int = 0
    unit: str = ""
    price_nano: int = 0
    rate_ppm: int = 0
    first: Reading | None = None
    last: Reading | None = None
    reference: str = ""
    form: str = ""
    rate: int = 0
    per: str = ""
    base_nano: int = 0


@dataclass(frozen=True, slots=True)
class DayUse:
    """Use of one local day ('2026-11-21') for the chart; None where nothing was measured."""

    day: str
    used_wh: int | None


@dataclass(frozen=True, slots=True)
class Moved:
    """What one kind of charge was on the cancelled bill and is now."""

    kind: LineKind
    reference: str
    was_nano: int
    now_nano: int


@dataclass(frozen=True, slots=True)
class DayMoved:
    """The use of a day on the cancelled bill and now."""

    day: str
    was_wh: int | None
    now_wh: int | None


@dataclass(frozen=True, slots=True)
class Correction:
    """Why a bill stands in the place of another one, and what is different."""

    bill_no: str
    note: str
    was_nano: int
    now_nano: int
    lines: tuple[Moved, ...]
    days: tuple[DayMoved, ...]


@dataclass(frozen=True, slots=True)
class DepositHeld:
    """What we hold of the consumer when a bill is issued, and the interest added since the bill before."""

    held_nano: int
    interest_nano: int = 0


@dataclass(frozen=True, slots=True)
class Tail:
    """What of a bill is estimated because nothing was read after `from_ms`. `method`: intervals or registers (`tail.py`). `in_row`: how
    many estimated bills follow each other, with this one."""

    from_ms: int
    used_wh: int
    method: str
    in_row: int = 1

    def permille(self, used_wh: int) -> int:
        """Of all the bill counts."""
        return self.used_wh * 1000 // used_wh if used_wh > 0 else 0


@dataclass(frozen=True, slots=True)
class ArrangedPart:
    """What is still to be paid of an instalment, until the end of the local day that begins at `day_ms`."""

    day_ms: int
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Arranged:
    """What of the arrears is paid by instalments when a bill is issued. `broken_ms`: since then it is due at once."""

    rest_nano: int
    parts: tuple[ArrangedPart, ...]
    broken_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """Who and where, as printed at the top."""

    account_no: int
    customer: str
    address: str
    meter_serial: str
    tariff_name: str
    zone: str
    language: str
    currency: str


@dataclass(frozen=True, slots=True)
class Bill:
    """`opening_nano` and `closing_nano` are the balance of a prepaid account, or what was and is owed on a bill. `first` and `last`: the
    register at both ends of a bill, `turns` where it went back between. `corrects`: the bill it stands in the place of."""

    kind: BillKind
    party: Party
    from_ms: int
    to_ms: int
    opening_nano: int
    lines: tuple[Line, ...]
    closing_nano: int
    used_wh: int
    days: tuple[DayUse, ...]
    quality: DataQuality
    journal_from_seq: int = 0
    journal_to_seq: int = 0
    opening_shown_nano: int = 0
    closing_shown_nano: int = 0
    first: Reading | None = None
    last: Reading | None = None
    corrects: Correction | None = None
    deposit: DepositHeld | None = None
    arranged: Arranged | None = None
    tail: Tail | None = None
    turns: tuple[Turn, ...] = ()

    @property
    def charged_nano(self) -> int:
        """What this bill or statement charges, as a positive exact amount."""
        return abs(sum(line.amount_nano for line in self.lines if line.kind in CHARGE_KINDS))


@dataclass(frozen=True, slots=True)
class BillView:
    """An issued bill. `due_nano` is what is still to be paid of it now (0 for a statement). `cancelled_by`: the bill in its place."""

    bill_no: str
    issued_at_ms: int
    due_at_ms: int | None
    state: BillState
    due_nano: int
    bill: Bill
    cancelled_by: str = ""


@dataclass(frozen=True, slots=True)
class BillRow:
    """One row of a list of bills."""

    bill_no: str
    account_no: int
    kind: BillKind
    from_ms: int
    to_ms: int
    issued_at_ms: int
    total_nano: int
    due_nano: int
    currency: str
    state: BillState
