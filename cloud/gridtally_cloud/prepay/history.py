"""What was paid and what became of it: payments and instruments with the state the mirror proves.

An instrument is ISSUED until the outbox has sent it, SENT until the mirrored journal shows the entry that used it, and
APPLIED from then on, with that entry's sequence and time.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, String, and_, cast, func, literal, literal_column, select

from gridtally_cloud.prepay.instruments import CHANNEL
from gridtally_cloud.prepay.model import InstrumentState, InstrumentView, PaymentView
from gridtally_cloud.prepay.orders import PaymentReason
from gridtally_cloud.prepay.tables import instrument, payment, refund
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import journal_entry, outbox_down
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Kind

USING = (int(Kind.CREDIT), int(Kind.REFUND))

_i, _j, _o = instrument.c, journal_entry.c, outbox_down.c
_REF = cast(_i.account_no, String) + literal("/") + cast(_i.epoch, String) + literal("/") + cast(_i.gseq, String)
KINDS = _j.kind.in_([literal_column(str(kind)) for kind in USING])  # literal: that is how the partial index is found
_USED = and_(_j.shard == _i.shard, _j.account_no == _i.account_no, _j.epoch == _i.epoch, _j.gseq == _i.gseq, KINDS,
             _j.verified)  # fmt: skip

INSTRUMENTS: Select[Any] = (
    select(instrument, _o.last_sent_ms, _j.seq.label("used_seq"), _j.at_ms.label("used_ms"))
    .outerjoin(outbox_down, and_(_o.dcu == _i.dcu, _o.channel == CHANNEL, _o.ref == _REF))
    .outerjoin(journal_entry, _USED)
    .where(_i.shard == SHARD)
)


def instrument_view(row: Row[Any]) -> InstrumentView:
    sent = InstrumentState.SENT if row.last_sent_ms is not None else InstrumentState.ISSUED
    state = InstrumentState.APPLIED if row.used_seq is not None else sent
    return InstrumentView(row.account_no, row.epoch, row.gseq, row.type, row.amount_nano, row.currency, row.issued_ms, state,
                          row.last_sent_ms, row.used_ms, row.used_seq, row.payment_no)  # fmt: skip


def instruments(conn: Connection, account_no: int) -> tuple[InstrumentView, ...]:
    """All instruments of an account, newest first."""
    query = INSTRUMENTS.where(_i.account_no == account_no).order_by(_i.epoch.desc(), _i.gseq.desc())
    return tuple(instrument_view(r) for r in conn.execute(query))


def payment_view(conn: Connection, payment_no: int) -> PaymentView:
    """Raises RefusedCommand (unknown_payment)."""
    row = conn.execute(_payments().where(payment.c.payment_no == payment_no)).one_or_none()
    if row is None:
        raise RefusedCommand(PaymentReason.UNKNOWN_PAYMENT, f"there is no payment {payment_no}")
    return _payment(conn, row)


def payments(conn: Connection, account_no: int, limit: int = 100) -> tuple[PaymentView, ...]:
    """Payments of an account, newest first."""
    query = _payments().where(payment.c.account_no == account_no).order_by(payment.c.payment_no.desc()).limit(limit)
    return tuple(_payment(conn, r) for r in conn.execute(query))


def payment_of_order(conn: Connection, order_id: str) -> PaymentView | None:
    """The payment an order led to; the first, should the consumer have paid twice."""
    query = _payments().where(payment.c.order_id == order_id).order_by(payment.c.payment_no).limit(1)
    row = conn.execute(query).one_or_none()
    return _payment(conn, row) if row else None


def _payments() -> Select[Any]:
    back = select(func.coalesce(func.sum(refund.c.amount_nano), 0)).where(refund.c.payment_no == payment.c.payment_no)
    return select(payment, back.scalar_subquery().label("refunded_nano"))


def _payment(conn: Connection, row: Row[Any]) -> PaymentView:
    mine = conn.execute(INSTRUMENTS.where(_i.payment_no == row.payment_no, _i.refund_no.is_(None))).one_or_none()
    return PaymentView(row.payment_no, row.account_no, row.order_id, row.amount_nano, row.refunded_nano, row.currency, row.method,
                       row.gateway, row.gateway_ref, row.captured_ms, row.bill_no,
                       instrument_view(mine) if mine else None)  # fmt: skip
