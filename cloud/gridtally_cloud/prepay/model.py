"""What the prepayment services return. Money is nano-currency, time ms UTC, energy Wh.

* A balance is always the one of the edge's mirrored journal, with its sequence and time; money paid but not yet seen
  in the mirror stands beside it as `pending_nano`, never inside it.
* An instrument is `applied` only when the mirror shows the journal entry that used it.
"""

from __future__ import annotations

from enum import StrEnum

from gridtally_shared.records import dataclass


class OrderState(StrEnum):
    CREATED = "created"
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"


class PaymentReason(StrEnum):
    """Why a payment is refused."""

    TOO_LITTLE = "payment_too_small"
    TOO_MUCH = "payment_too_large"
    NOT_A_MULTIPLE = "payment_not_a_multiple"
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_PAYMENT = "unknown_payment"
    ACCOUNT_CLOSED = "account_closed"
    REFERENCE_USED = "reference_used"
    REFUND_TOO_LARGE = "refund_too_large"
    NOTHING_TO_PAY = "nothing_to_pay"


class InstrumentState(StrEnum):
    ISSUED = "issued"
    SENT = "sent"
    APPLIED = "applied"
    REFUSED = "refused"


class SupplyState(StrEnum):
    ON = "on"
    OFF = "off"
    ARMED = "armed"
    NOT_FITTED = "not_fitted"
    UNKNOWN = "unknown"


class CaptureOutcome(StrEnum):
    CAPTURED = "captured"
    REPEATED = "repeated"
    FAILED = "failed"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Notice:
    """A message the edge showed or a decision it took, from its journal. `kind` is 'notice' (code and parameters of a
    message), 'decision' (verdict; the tests that did not hold) or 'switch' ('open', 'close', or either with '_failed'; result and
    origin). `ref` names it among the account's messages (price_tables.py)."""

    seq: int
    at_ms: int
    kind: str
    code: str
    params: tuple[tuple[str, str], ...] = ()
    ref: str = ""


@dataclass(frozen=True, slots=True)
class BalanceView:
    """`seq` is that of the last mirrored entry, `as_of_ms` its time or that of a later reading that changed nothing (0 when the edge
    has not reported yet). `debt_nano` is what
    a refund left owing beside the balance."""

    account_no: int
    currency: str
    balance_nano: int
    as_of_ms: int
    seq: int
    pending_nano: int
    low_balance_nano: int
    supply: SupplyState
    supply_as_of_ms: int
    messages: tuple[Notice, ...]
    debt_nano: int = 0

    @property
    def is_low(self) -> bool:
        return self.balance_nano <= self.low_balance_nano

    @property
    def known(self) -> bool:
        return self.seq > 0


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One journal entry as a person reads it. `amount_nano` is its effect on the balance; `net_nano` and `tax_nano` are
    the parts of a charge; register values only on OPEN and ENERGY."""

    epoch: int
    seq: int
    at_ms: int
    kind: str
    amount_nano: int
    balance_nano: int
    net_nano: int
    tax_nano: int
    register_before_wh: int | None
    register_after_wh: int | None
    tariff_version: int
    gseq: int

    @property
    def energy_wh(self) -> int:
        """Wh charged by this entry."""
        if self.register_before_wh is None or self.register_after_wh is None:
            return 0
        return self.register_after_wh - self.register_before_wh


@dataclass(frozen=True, slots=True)
class Order:
    """An intention to pay. `pay_path` is where the consumer is sent; `bill_no` is '' for a top-up."""

    order_id: str
    account_no: int
    amount_nano: int
    currency: str
    state: OrderState
    created_at_ms: int
    gateway: str
    gateway_order: str
    pay_path: str
    bill_no: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InstrumentView:
    account_no: int
    epoch: int
    gseq: int
    type: int
    amount_nano: int
    currency: str
    issued_at_ms: int
    state: InstrumentState
    sent_at_ms: int | None
    applied_at_ms: int | None
    applied_seq: int | None
    payment_no: int | None


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A captured payment. `instrument` is None when it went to a postpaid receivable."""

    payment_no: int
    account_no: int
    order_id: str
    amount_nano: int
    refunded_nano: int
    currency: str
    method: str
    gateway: str
    gateway_ref: str
    captured_at_ms: int
    bill_no: str
    instrument: InstrumentView | None


@dataclass(frozen=True, slots=True)
class Capture:
    """What a webhook led to. `payment` with CAPTURED and REPEATED (the same row both times)."""

    outcome: CaptureOutcome
    order: Order | None = None
    payment: PaymentView | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LedgerMismatch:
    """One broken equation of `reconcile`, to the nano."""

    account_no: int
    check: str
    expected_nano: int
    found_nano: int
    text: str
