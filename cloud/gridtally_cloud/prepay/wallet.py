"""The wallet as the consumer sees it: the mirrored balance with its time, money on the way, and every line behind it.

payments = applied + on the way, exactly; the balance is the replayed journal of the edge and nothing else.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.prepay.history import INSTRUMENTS, KINDS
from gridtally_cloud.prepay.instruments import waiting_payments
from gridtally_cloud.prepay.model import BalanceView, LedgerLine, Notice, SupplyState
from gridtally_cloud.prepay.notices import notice_of
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import account_mirror, journal_entry, meter_status
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, entry_from

_j, _m = journal_entry.c, account_mirror.c

SWITCHES: dict[int, SupplyState] = {
    0: SupplyState.OFF,
    1: SupplyState.ON,
    2: SupplyState.ARMED,
    3: SupplyState.NOT_FITTED,
}
TOLD = {int(Kind.NOTICE): "notice", int(Kind.DECISION): "decision", int(Kind.SWITCH): "switch"}
MESSAGES_SHOWN = 10


def balance(conn: Connection, account_no: int) -> BalanceView:
    """Balance, money on the way and supply of an account. Raises RefusedCommand (unknown_account)."""
    account = account_of(conn, account_no)
    mine = select(account_mirror).where(_m.shard == SHARD, _m.account_no == account_no, _m.epoch == account.account_epoch)
    mirror = conn.execute(mine).one_or_none()
    of_meter = (meter_status.c.shard == SHARD, meter_status.c.meter_no == account.meter_no)
    status = conn.execute(select(meter_status).where(*of_meter)).one_or_none()
    return BalanceView(
        account_no, account.currency,
        mirror.balance_nano if mirror else 0, mirror.at_ms if mirror else 0, mirror.seq if mirror else 0,
        pending_nano(conn, account_no), account.policy.low_balance_nano,
        SWITCHES.get(status.switch, SupplyState.UNKNOWN) if status else SupplyState.UNKNOWN, status.at_ms if status else 0,
        messages(conn, account_no), debt_nano(conn, account_no),
    )  # fmt: skip


def pending_nano(conn: Connection, account_no: int) -> int:
    """Money paid and not yet seen in the mirror, less refunds on the way."""
    i = instrument.c
    prefix = select(_m.gseq_prefix).where(_m.shard == i.shard, _m.account_no == i.account_no, _m.epoch == i.epoch).scalar_subquery()
    above = INSTRUMENTS.where(i.account_no == account_no, or_(prefix.is_(None), i.gseq > prefix)).subquery()
    unseen = select(func.coalesce(func.sum(above.c.amount_nano), 0)).where(above.c.used_seq.is_(None))
    waiting: int = sum(row.amount_nano for row in waiting_payments(conn, account_no))
    return int(conn.execute(unseen).scalar_one()) + waiting


def debt_nano(conn: Connection, account_no: int) -> int:
    """What refunds of money already used left owing; only REFUND and CREDIT entries touch it."""
    query = select(_j.body).where(_j.shard == SHARD, _j.account_no == account_no, KINDS, _j.verified)
    return -sum(posted(entry_from(body), Pool.DEBT) for body in conn.execute(query).scalars())


def messages(conn: Connection, account_no: int, limit: int = MESSAGES_SHOWN) -> tuple[Notice, ...]:
    """What the edge told the consumer or decided about the supply, newest first."""
    told = and_(_j.shard == SHARD, _j.account_no == account_no, _j.kind.in_(TOLD), _j.verified)
    query = select(_j.kind, _j.body).where(told).order_by(_j.epoch.desc(), _j.seq.desc()).limit(limit)
    return tuple(notice_of(entry_from(r.body), TOLD[r.kind]) for r in conn.execute(query))


def ledger_lines(conn: Connection, account_no: int, limit: int = 100, before: tuple[int, int] | None = None, *,
                 money_only: bool = False) -> tuple[LedgerLine, ...]:  # fmt: skip
    """Journal entries newest first; `before` = (epoch, seq) of the last line of the page before."""
    query = select(journal_entry).where(_j.shard == SHARD, _j.account_no == account_no, _j.verified)
    if before is not None:
        query = query.where(or_(_j.epoch < before[0], and_(_j.epoch == before[0], _j.seq < before[1])))
    if money_only:
        query = query.where(_j.paid_nano != 0)
    rows = conn.execute(query.order_by(_j.epoch.desc(), _j.seq.desc()).limit(limit))
    return tuple(_line(r) for r in rows)


def _line(row: Row[Any]) -> LedgerLine:
    entry = entry_from(row.body)
    return LedgerLine(
        entry.epoch, entry.seq, entry.at_ms, Kind(entry.kind).name.lower(), posted(entry, Pool.PAID), row.balance_nano or 0,
        posted(entry, Pool.ENERGY) + posted(entry, Pool.FIXED), posted(entry, Pool.TAX), entry.register_before_wh,
        entry.register_after_wh, entry.tariff_version, entry.gseq,
    )  # fmt: skip


def posted(entry: LedgerEntry, pool: Pool) -> int:
    """What an entry moves into a pool."""
    return sum(p.amount_nano for p in entry.postings if p.pool == pool)
