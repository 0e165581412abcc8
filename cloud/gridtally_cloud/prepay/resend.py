"""Credits on their way: watched until the mirrored journal shows them used, with an alarm that grows with the time.

* The outbox sends again with a growing pause (publisher.py); here is what people are told meanwhile.
* After 60 s the consumer is told that the payment is on its way, and gets the code to type in (safety.md 6); after an hour the
  desk sees it, after 24 h it is overdue. One level is told once; arrival ends it. The consumer is told of what he paid, and of no order
  and no money that comes along from elsewhere; nor that it arrived where it goes along to another concentrator.
* `progress` gives every instant of every credit, so that a soak measures the figures of prepayment.md 7 instead of believing them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, Select, and_, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.tables import account
from gridtally_cloud.prepay.history import OUTBOX_ROW, USED
from gridtally_cloud.prepay.instruments import CHANNEL
from gridtally_cloud.prepay.keypad import code_of
from gridtally_cloud.prepay.model import InstrumentView
from gridtally_cloud.prepay.notices import tell
from gridtally_cloud.prepay.tables import instrument, late_credit, payment
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database, upsert
from gridtally_cloud.store.tables import dcu, journal_entry, outbox_down
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.forms import PAYMENT_TYPES
from gridtally_shared.records import dataclass

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
LEVELS: tuple[tuple[int, str], ...] = ((24 * HOUR_MS, "overdue"), (HOUR_MS, "late"), (MINUTE_MS, "slow"))
"""From what age on, longest first. Slow is the consumer's to know, late and overdue also the desk's."""
DESK = frozenset({"late", "overdue"})
ACTOR = "resend"

_i, _l, _o, _j = instrument.c, late_credit.c, outbox_down.c, journal_entry.c


@dataclass(frozen=True, slots=True)
class LateCredit:
    """A credit the mirror does not show yet. `online`: its concentrator is heard; `attempts`: how often it went out."""

    account_no: int
    epoch: int
    gseq: int
    amount_nano: int
    currency: str
    issued_at_ms: int
    level: str
    dcu: str
    online: bool
    heard_at_ms: int | None
    attempts: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The life of one instrument in instants; None where it has not come to that."""

    account_no: int
    epoch: int
    gseq: int
    amount_nano: int
    captured_ms: int | None
    issued_ms: int
    last_sent_ms: int | None
    attempts: int
    applied_ms: int | None
    mirrored_ms: int | None


def level_of(age_ms: int) -> str:
    """'' while nobody needs to know."""
    return next((name for least_ms, name in LEVELS if age_ms >= least_ms), "")


def watch(db: Database, at_ms: int) -> int:
    """One turn of the job: raise what is late, clear what has arrived. Number of credits whose level changed."""
    with db.read() as conn:
        raised = [(row, level) for row in conn.execute(_waiting(at_ms)) if (level := level_of(at_ms - row.issued_ms)) != row.level]
        arrived = conn.execute(_arrived()).all()
    if not raised and not arrived:
        return 0
    with db.write() as conn:
        for row, level in raised:
            _raise(conn, row, level, at_ms)
        for row in arrived:
            _clear(conn, row, at_ms)
    return len(raised) + len(arrived)


def late_credits(conn: Connection, account_no: int | None = None) -> tuple[LateCredit, ...]:
    """What is late now, oldest first."""
    d = dcu.c
    query = _open().add_columns(d.online, d.last_contact_ms, _o.attempts).outerjoin(dcu, d.dcu == _i.dcu)
    query = query.where(_l.level.is_not(None), _l.cleared_ms.is_(None)).order_by(_i.issued_ms)
    if account_no is not None:
        query = query.where(_i.account_no == account_no)
    return tuple(LateCredit(r.account_no, r.epoch, r.gseq, r.amount_nano, r.currency, r.issued_ms, r.level, r.dcu, bool(r.online),
                            r.last_contact_ms, r.attempts) for r in conn.execute(query))  # fmt: skip


def progress(conn: Connection, from_ms: int, to_ms: int) -> tuple[Progress, ...]:
    """Every instrument issued in [from, to), with all its instants."""
    joined = instrument.outerjoin(outbox_down, OUTBOX_ROW).outerjoin(journal_entry, USED)
    joined = joined.outerjoin(payment, payment.c.payment_no == _i.payment_no)
    query = select(instrument, payment.c.captured_ms, _o.last_sent_ms, _o.attempts, _o.done_ms, _j.at_ms.label("used_ms"))
    rows = conn.execute(query.select_from(joined).where(_i.shard == SHARD, _i.issued_ms >= from_ms, _i.issued_ms < to_ms)
                        .order_by(_i.issued_ms, _i.account_no, _i.gseq))  # fmt: skip
    return tuple(Progress(r.account_no, r.epoch, r.gseq, r.amount_nano, r.captured_ms, r.issued_ms, r.last_sent_ms, r.attempts or 0,
                          r.used_ms, r.done_ms) for r in rows)  # fmt: skip


def within(rows: tuple[Progress, ...], limit_ms: int) -> tuple[int, int]:
    """How many were used at the meter within a time of their issue, and how many there were."""
    return sum(1 for r in rows if r.applied_ms is not None and r.applied_ms - r.issued_ms <= limit_ms), len(rows)


def code_to_type(conn: Connection, credit: InstrumentView | None) -> str:
    """The digits that bring a credit to the meter by hand; '' where it is there already or has no code."""
    if credit is None or credit.applied_seq is not None:
        return ""
    try:
        return code_of(conn, credit.account_no, credit.gseq, credit.epoch).text
    except RefusedCommand:
        return ""


def _open() -> Select[Any]:
    """Instruments the mirror does not show, with what was raised about them."""
    joined = outbox_down.join(instrument, OUTBOX_ROW)
    joined = joined.outerjoin(late_credit, and_(_l.account_no == _i.account_no, _l.epoch == _i.epoch, _l.gseq == _i.gseq))
    columns = (_i.account_no, _i.epoch, _i.gseq, _i.type, _i.amount_nano, _i.currency, _i.issued_ms, _i.dcu, _l.level)
    return select(*columns).select_from(joined).where(_o.channel == CHANNEL, _o.done_ms.is_(None), _i.shard == SHARD)


def _waiting(at_ms: int) -> Select[Any]:
    return _open().where(_o.created_ms <= at_ms - MINUTE_MS)


def _arrived() -> Select[Any]:
    """Credits that were late and are done."""
    joined = late_credit.join(instrument, and_(_l.account_no == _i.account_no, _l.epoch == _i.epoch, _l.gseq == _i.gseq))
    joined = joined.join(outbox_down, OUTBOX_ROW)
    joined = joined.join(account, account.c.account_no == _i.account_no)
    columns = (late_credit, _i.type, _i.amount_nano, (account.c.account_epoch == _i.epoch).label("living"))
    return select(*columns).select_from(joined).where(_l.cleared_ms.is_(None), _o.done_ms.is_not(None), _i.shard == SHARD)


def _raise(conn: Connection, row: Row[Any], level: str, at_ms: int) -> None:
    upsert(conn, late_credit, {"account_no": row.account_no, "epoch": row.epoch, "gseq": row.gseq, "level": level, "raised_ms": at_ms})
    ref = f"{row.epoch}/{row.gseq}"
    if _is_paid(row):
        tell(conn, row.account_no, f"credit_{level}", ref, at_ms, a=str(row.amount_nano), gseq=str(row.gseq))
    if level in DESK:
        record(conn, at_ms, ACTOR, f"credit.{level}", f"account:{row.account_no}", f"credit {ref} by {row.dcu}")


def _clear(conn: Connection, row: Row[Any], at_ms: int) -> None:
    mine = and_(_l.account_no == row.account_no, _l.epoch == row.epoch, _l.gseq == row.gseq)
    conn.execute(update(late_credit).where(mine).values(cleared_ms=at_ms))
    if _is_paid(row) and row.living:
        tell(conn, row.account_no, "credit_arrived", f"{row.epoch}/{row.gseq}", at_ms, gseq=str(row.gseq))


def _is_paid(row: Row[Any]) -> bool:
    return row.type in PAYMENT_TYPES and row.amount_nano > 0
