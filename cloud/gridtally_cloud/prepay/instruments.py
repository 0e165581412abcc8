"""Credit instruments: money signed for one account at one edge (prepayment.md 5.2, 5.3).

* `gseq` counts 1, 2, 3... per account and epoch without gaps, above every number an edge has used (restored.py); `previous` is the
  SHA-256 of the payload before it (32 zero bytes for the first). Both are read and written inside the caller's write transaction,
  which holds the account's row: the caller took it before he looked at the account.
* The row in `outbox_down` is written in the same transaction; sending, resending and ticking off are the outbox's.
* An account whose meter no DCU serves yet has its money kept as paid, and so has one whose DCU's numbers are not known again after a
  restore; `issue_waiting` makes the instruments later.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, insert, select

from gridtally_cloud.customers.accounts import accounts_of_dcu, held, hold
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.prepay.restored import credited_before, floor_of, highest, may_issue, raise_floor
from gridtally_cloud.prepay.restored import take_numbers as take_free
from gridtally_cloud.prepay.tables import instrument, payment
from gridtally_cloud.store import outbox
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CONTRACT_VERSION, Hello, Instrument, InstrumentType
from gridtally_shared.instruments.details import Detail
from gridtally_shared.instruments.forms import fault_of
from gridtally_shared.ledger.entries import GENESIS
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer, sign1

CHANNEL = "instrument"
CREDIT, BILL, WALLET = "credit", "bill", "wallet"
OUTBOX_PRIORITY = 5
"""Before commands of every kind but the emergency ones: credit is what brings supply back."""

_t = instrument.c
_STANDS_FOR = and_(_t.payment_no == payment.c.payment_no, _t.refund_no.is_(None))
_WAITING = (select(payment).select_from(payment.outerjoin(instrument, _STANDS_FOR))
            .where(_t.gseq.is_(None), payment.c.purpose == CREDIT).order_by(payment.c.payment_no))  # fmt: skip
_WAITING_OF = _WAITING.where(payment.c.account_no == bindparam("of_account"))
_LAST = (select(_t.gseq, _t.payload_hash)
         .where(_t.shard == SHARD, _t.account_no == bindparam("of_account"), _t.epoch == bindparam("of_epoch"))
         .order_by(_t.gseq.desc()).limit(1))  # fmt: skip


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
          at_ms: int, detail: Detail | None = None) -> int:  # fmt: skip
    """Write the next instrument and its outbox row (none where the MDM runs the account itself); returns its gseq. The caller holds the
    write transaction. Raises ValueError for one that does not fit the form of its type (instruments/forms.py): it would be refused at
    the edge."""
    hold(conn, account.account_no)
    gseq, previous = _next(conn, account.account_no, account.account_epoch)
    envelope = _store(conn, signer, account, kind, amount_nano, source, at_ms, gseq, previous, detail)
    if not is_managed(conn, account.account_no):
        ref = outbox.instrument_ref(account.account_no, account.account_epoch, gseq)
        outbox.put(conn, account.dcu, CHANNEL, ref, envelope, at_ms, OUTBOX_PRIORITY)
    return gseq


def credit(conn: Connection, signer: Signer, account: Account, amount_nano: int, source: Source, at_ms: int) -> int:
    """The instrument of a payment: issued, or tied to the entry that credited it before the store was put back. Its gseq."""
    entry = credited_before(conn, account, reference_hash(source.reference))
    if entry is None:
        return issue(conn, signer, account, InstrumentType.CREDIT, amount_nano, source, at_ms)
    _store(conn, signer, account, InstrumentType.CREDIT, amount_nano, source, at_ms, entry.gseq, GENESIS)
    return entry.gseq


def take_numbers(conn: Connection, signer: Signer, hello: Hello, now_ms: int) -> None:
    """What a greeting tells of numbers used. One that nobody has used holds up every order above it: it becomes a test."""
    heads = {(head.account_no, head.epoch): head for head in hello.accounts}
    for account, gseq in take_free(conn, hello, accounts_of_dcu(conn, hello.dcu), now_ms):
        head = heads[account.account_no, account.account_epoch]
        if gseq < highest(head):
            raise_floor(conn, account, gseq - 1, head.seq, now_ms)
            issue(conn, signer, account, InstrumentType.TEST, 0, Source(f"lost|{gseq}"), now_ms)
        else:
            raise_floor(conn, account, gseq, head.seq, now_ms)


def _store(conn: Connection, signer: Signer, account: Account, kind: InstrumentType, amount_nano: int, source: Source, at_ms: int,
           gseq: int, previous: bytes, detail: Detail | None = None) -> bytes:  # fmt: skip
    """Sign one and keep it; the envelope."""
    made = Instrument(
        CONTRACT_VERSION, account.dcu, account.account_no, account.account_epoch, gseq, kind, amount_nano, account.currency,
        reference_hash(source.reference), at_ms, previous, encode(detail) if detail else b"",
    )  # fmt: skip
    fault = fault_of(made)
    if fault:
        raise ValueError(f"a {kind.name} for account {account.account_no} does not fit its form: {fault}")
    payload = encode(made)
    envelope = sign1(signer, CHANNEL, payload)
    conn.execute(insert(instrument).values(
        shard=SHARD, account_no=account.account_no, epoch=account.account_epoch, gseq=gseq, dcu=account.dcu, type=int(kind),
        amount_nano=amount_nano, currency=account.currency, payment_no=source.payment_no, refund_no=source.refund_no, issued_ms=at_ms,
        payload_hash=hashlib.sha256(payload).digest(), envelope=envelope,
    ))  # fmt: skip
    return envelope


def _next(conn: Connection, account_no: int, epoch: int) -> tuple[int, bytes]:
    row = conn.execute(_LAST, {"of_account": account_no, "of_epoch": epoch}).one_or_none()
    gseq, previous = (row.gseq, row.payload_hash) if row else (0, GENESIS)
    lost = floor_of(conn, account_no, epoch)
    return (lost + 1, GENESIS) if lost > gseq else (gseq + 1, previous)


def waiting_payments(conn: Connection, account_no: int | None = None) -> tuple[Row[Any], ...]:
    """Prepaid payments that have no instrument yet."""
    return tuple(conn.execute(_WAITING) if account_no is None else conn.execute(_WAITING_OF, {"of_account": account_no}))


def issue_waiting(conn: Connection, signer: Signer, at_ms: int) -> int:
    """Make the instruments of money that came before the account had a DCU; number made."""
    made = 0
    hold(conn, *(row.account_no for row in waiting_payments(conn)))
    for row in waiting_payments(conn):
        account = held(conn, row.account_no)
        if account.is_prepaid and account.dcu and may_issue(conn, account):
            source = Source(payment_reference(row.gateway, row.gateway_ref), payment_no=row.payment_no)
            credit(conn, signer, account, row.amount_nano, source, at_ms)
            made += 1
    return made
