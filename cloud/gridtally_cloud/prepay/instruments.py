"""Credit instruments: money signed for one account at one edge (prepayment.md 5.2, 5.3).

* `gseq` counts 1, 2, 3... per account and epoch without gaps; `previous` is the SHA-256 of the payload before it (32 zero
  bytes for the first). Both are read and written inside the caller's write transaction.
* The row in `outbox_down` is written in the same transaction; sending, resending and ticking off are the outbox's.
* An account whose meter no DCU serves yet has its money kept as paid; `issue_waiting` makes the instruments later.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, select

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.tables import instrument, payment
from gridtally_cloud.store import outbox
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CONTRACT_VERSION, Instrument, InstrumentType
from gridtally_shared.ledger.entries import GENESIS
from gridtally_shared.signing import Signer, sign1

CHANNEL = "instrument"
CREDIT, BILL = "credit", "bill"
OUTBOX_PRIORITY = 5
"""Before commands of every kind but the emergency ones: credit is what brings supply back."""


@dataclass(frozen=True, slots=True)
class Source:
    """The payment or refund an instrument stands for; `reference` is hashed into it."""

    reference: str
    payment_no: int | None = None
    refund_no: int | None = None


def payment_reference(gateway: str, gateway_ref: str) -> str:
    return f"{gateway}|{gateway_ref}"


def reference_hash(reference: str) -> bytes:
    """Sixteen bytes that name a payment without telling who paid."""
    return hashlib.sha256(reference.encode()).digest()[:16]


def issue(conn: Connection, signer: Signer, account: Account, kind: InstrumentType, amount_nano: int, source: Source,
          at_ms: int) -> int:  # fmt: skip
    """Write the next instrument and its outbox row; returns its gseq. The caller holds the write transaction."""
    gseq, previous = _next(conn, account.account_no, account.account_epoch)
    payload = encode(Instrument(
        CONTRACT_VERSION, account.dcu, account.account_no, account.account_epoch, gseq, kind, amount_nano, account.currency,
        reference_hash(source.reference), at_ms, previous,
    ))  # fmt: skip
    envelope = sign1(signer, CHANNEL, payload)
    conn.execute(insert(instrument).values(
        shard=SHARD, account_no=account.account_no, epoch=account.account_epoch, gseq=gseq, dcu=account.dcu, type=int(kind),
        amount_nano=amount_nano, currency=account.currency, payment_no=source.payment_no, refund_no=source.refund_no, issued_ms=at_ms,
        payload_hash=hashlib.sha256(payload).digest(), envelope=envelope,
    ))  # fmt: skip
    ref = outbox.instrument_ref(account.account_no, account.account_epoch, gseq)
    outbox.put(conn, account.dcu, CHANNEL, ref, envelope, at_ms, OUTBOX_PRIORITY)
    return gseq


def _next(conn: Connection, account_no: int, epoch: int) -> tuple[int, bytes]:
    t = instrument.c
    mine = (t.shard == SHARD, t.account_no == account_no, t.epoch == epoch)
    row = conn.execute(select(t.gseq, t.payload_hash).where(*mine).order_by(t.gseq.desc()).limit(1)).one_or_none()
    return (row.gseq + 1, row.payload_hash) if row else (1, GENESIS)


def waiting_payments(conn: Connection, account_no: int | None = None) -> tuple[Row[Any], ...]:
    """Prepaid payments that have no instrument yet."""
    stands_for = and_(instrument.c.payment_no == payment.c.payment_no, instrument.c.refund_no.is_(None))
    joined = payment.outerjoin(instrument, stands_for)
    query = select(payment).select_from(joined).where(instrument.c.gseq.is_(None), payment.c.purpose == CREDIT)
    if account_no is not None:
        query = query.where(payment.c.account_no == account_no)
    return tuple(conn.execute(query.order_by(payment.c.payment_no)))


def issue_waiting(conn: Connection, signer: Signer, at_ms: int) -> int:
    """Make the instruments of money that came before the account had a DCU; number made."""
    made = 0
    for row in waiting_payments(conn):
        account = account_of(conn, row.account_no)
        if account.is_prepaid and account.dcu:
            source = Source(payment_reference(row.gateway, row.gateway_ref), payment_no=row.payment_no)
            issue(conn, signer, account, InstrumentType.CREDIT, row.amount_nano, source, at_ms)
            made += 1
    return made
