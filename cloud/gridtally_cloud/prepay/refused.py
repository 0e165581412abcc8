"""Money an edge refused: it is listed until a person at the desk has decided, and then it travels again or goes back.

* An edge refuses money whole when it would take an account above what it may hold, or when it does not fit the account any more.
  The journal says so and the number is used up; so it can never be applied later.
* `reissue` sends it again under the next number, after the cause is gone. Giving it back is an ordinary refund of the whole
  payment (refunds.py): the meter never had the money, so nothing negative is sent there.
* A refused instrument is settled when its payment has a later instrument, or a refund without one. Until then the books count it
  as money on the way.

Source: prepayment.md 5.3 (nothing is lost silently).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, select

from gridtally_cloud.customers.accounts import held
from gridtally_cloud.customers.audit import record
from gridtally_cloud.prepay.history import INSTRUMENTS
from gridtally_cloud.prepay.instruments import Source, issue
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import instrument, refund
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.forms import PAYMENT_TYPES
from gridtally_shared.ledger.entries import entry_from
from gridtally_shared.ledger.evidence import refusal_of
from gridtally_shared.records import dataclass

i = instrument.c


class RefusedReason(StrEnum):
    NOT_REFUSED = "not_refused"
    NO_DCU = "no_dcu"


@dataclass(frozen=True, slots=True)
class RefusedMoney:
    """An instrument of a payment (or, negative, of a refund) that the edge refused and nobody has settled."""

    account_no: int
    epoch: int
    gseq: int
    type: int
    amount_nano: int
    currency: str
    payment_no: int
    refund_no: int | None
    reason: str
    at_ms: int


def unsettled(conn: Connection, account_no: int | None = None) -> tuple[RefusedMoney, ...]:
    """Oldest first."""
    query = INSTRUMENTS.where(i.type.in_([int(t) for t in PAYMENT_TYPES]), i.payment_no.is_not(None))
    query = query if account_no is None else query.where(i.account_no == account_no)
    refused = [row for row in conn.execute(query.order_by(i.issued_ms, i.account_no, i.gseq)) if _reason(row)]
    return tuple(_money(row) for row in refused if not is_settled(conn, row))


def is_settled(conn: Connection, row: Row[Any]) -> bool:
    """Whether a refused instrument's money travels again, or went back."""
    same = (i.shard == SHARD, i.payment_no == row.payment_no, i.refund_no.is_not_distinct_from(row.refund_no))
    later = select(i.gseq).where(*same, (i.epoch > row.epoch) | ((i.epoch == row.epoch) & (i.gseq > row.gseq)))
    if conn.execute(later.limit(1)).first() is not None:
        return True
    with_one = select(i.refund_no).where(i.shard == SHARD, i.refund_no.is_not(None))
    given_back = select(refund.c.refund_no).where(refund.c.payment_no == row.payment_no, refund.c.refund_no.not_in(with_one))
    return row.refund_no is None and conn.execute(given_back.limit(1)).first() is not None


def is_refused(conn: Connection, payment_no: int) -> bool:
    """Whether the money of a payment is with us: its newest instrument was refused."""
    query = INSTRUMENTS.where(i.payment_no == payment_no, i.refund_no.is_(None)).order_by(i.epoch.desc(), i.gseq.desc()).limit(1)
    row = conn.execute(query).one_or_none()
    return row is not None and bool(_reason(row)) and not is_settled(conn, row)


def reissue(conn: Connection, payments: Payments, account_no: int, gseq: int, at_ms: int, actor: str) -> int:
    """Send refused money again under the next number; that number. Raises RefusedCommand (not_refused, no_dcu)."""
    account = held(conn, account_no)
    money = next((m for m in unsettled(conn, account_no) if m.gseq == gseq), None)
    if money is None:
        text = f"instrument {gseq} of account {account_no} holds no refused money: see 'gridtally-mdm instrument refused'"
        raise RefusedCommand(RefusedReason.NOT_REFUSED, text)
    if not account.dcu:
        raise RefusedCommand(RefusedReason.NO_DCU, f"account {account_no} is served by no concentrator: give the money back, or wait")
    source = Source(f"reissue|{money.epoch}|{money.gseq}", payment_no=money.payment_no, refund_no=money.refund_no)
    number = issue(conn, payments.signer, account, _type(money), money.amount_nano, source, at_ms)
    record(conn, at_ms, actor, "instrument.reissued", f"account:{account_no}", f"{money.epoch}/{gseq} ({money.reason}) as {number}")
    return number


def _type(money: RefusedMoney) -> InstrumentType:
    """Energy and hours sold at a price of then travel as the money they cost."""
    return InstrumentType.REFUND if money.amount_nano < 0 else InstrumentType.CREDIT


def _reason(row: Row[Any]) -> str:
    return refusal_of(entry_from(bytes(row.control))) if row.control else ""


def _money(row: Row[Any]) -> RefusedMoney:
    return RefusedMoney(row.account_no, row.epoch, row.gseq, row.type, row.amount_nano, row.currency, row.payment_no, row.refund_no,
                        _reason(row), row.used_ms)  # fmt: skip
