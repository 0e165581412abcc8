"""What was paid and what became of it: payments and instruments with the state the mirror proves.

An instrument is ISSUED until the outbox has sent it, SENT until the mirrored journal shows the entry that used it, and
APPLIED from then on, with that entry's sequence and time; REFUSED where that entry says so.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, String, and_, bindparam, case, cast, func, literal, literal_column, select

from gridtally_cloud.prepay.instruments import CHANNEL
from gridtally_cloud.prepay.model import InstrumentState, InstrumentView, PaymentReason, PaymentView
from gridtally_cloud.prepay.tables import instrument, payment, refund
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry, outbox_down
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Kind, entry_from
from gridtally_shared.ledger.evidence import refusal_of

USING = (int(Kind.CREDIT), int(Kind.REFUND))
AS_DEBT = frozenset({int(InstrumentType.DEBT), int(InstrumentType.CORRECTION)})
"""Types that become a debt where their amount is below zero: they never lower the balance, so nothing of it is on its way."""

_i, _j, _o = instrument.c, journal_entry.c, outbox_down.c
_REF = cast(_i.account_no, String) + literal("/") + cast(_i.epoch, String) + literal("/") + cast(_i.gseq, String)
NUMBERED = _j.gseq != literal_column("0")  # literal: that is how the partial index is found
USED = and_(_j.shard == _i.shard, _j.account_no == _i.account_no, _j.epoch == _i.epoch, _j.gseq == _i.gseq, NUMBERED,
            _j.verified)  # fmt: skip
"""The journal entry that used an instrument: an entry with its number, of whatever kind."""
OUTBOX_ROW = and_(_o.dcu == _i.dcu, _o.channel == CHANNEL, _o.ref == _REF)
"""An instrument's row of the way down."""

INSTRUMENTS: Select[Any] = (
    select(instrument, _o.last_sent_ms, _j.seq.label("used_seq"), _j.at_ms.label("used_ms"),
           case((_j.kind == int(Kind.CONTROL), _j.body)).label("control"))
    .outerjoin(outbox_down, OUTBOX_ROW)
    .outerjoin(journal_entry, USED)
    .where(_i.shard == SHARD)
)

_BACK = select(func.coalesce(func.sum(refund.c.amount_nano), 0)).where(refund.c.payment_no == payment.c.payment_no)
_PAYMENTS = select(payment, _BACK.scalar_subquery().label("refunded_nano"))
_PAYMENT = _PAYMENTS.where(payment.c.payment_no == bindparam("number"))
_STANDS_FOR = (INSTRUMENTS.where(_i.payment_no == bindparam("number"), _i.refund_no.is_(None))
               .order_by(_i.epoch.desc(), _i.gseq.desc()).limit(1))  # fmt: skip


def instrument_view(row: Row[Any]) -> InstrumentView:
    sent = InstrumentState.SENT if row.last_sent_ms is not None else InstrumentState.ISSUED
    used = InstrumentState.REFUSED if row.control and refusal_of(entry_from(bytes(row.control))) else InstrumentState.APPLIED
    state = used if row.used_seq is not None else sent
    return InstrumentView(row.account_no, row.epoch, row.gseq, row.type, row.amount_nano, row.currency, row.issued_ms, state,
                          row.last_sent_ms, row.used_ms, row.used_seq, row.payment_no)  # fmt: skip


def instruments(conn: Connection, account_no: int) -> tuple[InstrumentView, ...]:
    """All instruments of an account, newest first."""
    query = INSTRUMENTS.where(_i.account_no == account_no).order_by(_i.epoch.desc(), _i.gseq.desc())
    return tuple(instrument_view(r) for r in conn.execute(query))


def payment_view(conn: Connection, payment_no: int) -> PaymentView:
    """Raises RefusedCommand (unknown_payment)."""
    row = conn.execute(_PAYMENT, {"number": payment_no}).one_or_none()
    if row is None:
        raise RefusedCommand(PaymentReason.UNKNOWN_PAYMENT, f"there is no payment {payment_no}")
    return _payment(conn, row)


def payments(conn: Connection, account_no: int, limit: int = 100) -> tuple[PaymentView, ...]:
    """Payments of an account, newest first."""
    query = _PAYMENTS.where(payment.c.account_no == account_no).order_by(payment.c.payment_no.desc()).limit(limit)
    return tuple(_payment(conn, r) for r in conn.execute(query))


def payment_of_order(conn: Connection, order_id: str) -> PaymentView | None:
    """The payment an order led to; the first, should the consumer have paid twice."""
    query = _PAYMENTS.where(payment.c.order_id == order_id).order_by(payment.c.payment_no).limit(1)
    row = conn.execute(query).one_or_none()
    return _payment(conn, row) if row else None


def _payment(conn: Connection, row: Row[Any]) -> PaymentView:
    mine = conn.execute(_STANDS_FOR, {"number": row.payment_no}).one_or_none()
    return PaymentView(row.payment_no, row.account_no, row.order_id, row.amount_nano, int(row.refunded_nano), row.currency, row.method,
                       row.gateway, row.gateway_ref, row.captured_ms, row.bill_no,
                       instrument_view(mine) if mine else None)  # fmt: skip
