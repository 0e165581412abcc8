"""The wallet as the consumer sees it: the mirrored balance with its time, money on the way, and every line behind it.

payments = applied + on the way, exactly; the balance is the replayed journal of the edge and nothing else.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select

from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.tables import account
from gridtally_cloud.ingest.mirror import state_from
from gridtally_cloud.prepay.history import AS_DEBT, INSTRUMENTS
from gridtally_cloud.prepay.instruments import waiting_payments
from gridtally_cloud.prepay.model import BalanceView, LedgerLine, Notice, SupplyState
from gridtally_cloud.prepay.notices import notice_of
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.prepay.time_left import told_as_of_ms
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import account_mirror, journal_entry, meter_status
from gridtally_shared.ledger.entries import OWN, Kind, LedgerEntry, Pool, entry_from
from gridtally_shared.ledger.replay import LedgerState

_j, _m = journal_entry.c, account_mirror.c

SWITCHES: dict[int, SupplyState] = {
    0: SupplyState.OFF,
    1: SupplyState.ON,
    2: SupplyState.ARMED,
    3: SupplyState.NOT_FITTED,
}
TELLING = {int(Kind.NOTICE): "notice", int(Kind.DECISION): "decision", int(Kind.SWITCH): "switch"}
MESSAGES_SHOWN = 10

_i = instrument.c
_MIRROR_OF = and_(_m.shard == SHARD, _m.account_no == bindparam("of_account"), _m.epoch == bindparam("of_epoch"))
_MIRROR, _STATE = select(account_mirror).where(_MIRROR_OF), select(_m.state).where(_MIRROR_OF)
_STATUS = select(meter_status).where(meter_status.c.shard == SHARD, meter_status.c.meter_no == bindparam("of_meter"))
_PREFIX = select(_m.gseq_prefix).where(_m.shard == _i.shard, _m.account_no == _i.account_no, _m.epoch == _i.epoch).scalar_subquery()
_LIVING = select(account.c.account_epoch).where(account.c.account_no == bindparam("of_account")).scalar_subquery()
_ABOVE = INSTRUMENTS.where(
    _i.account_no == bindparam("of_account"), _i.epoch == _LIVING, or_(_PREFIX.is_(None), _i.gseq > _PREFIX)).subquery()
_UNSEEN = select(func.coalesce(func.sum(_ABOVE.c.amount_nano), 0)).where(
    _ABOVE.c.used_seq.is_(None), or_(_ABOVE.c.amount_nano > 0, _ABOVE.c.type.not_in(AS_DEBT)))  # fmt: skip
_MESSAGES = (select(_j.kind, _j.body)
             .where(_j.shard == SHARD, _j.account_no == bindparam("of_account"), _j.kind.in_(TELLING), _j.verified)
             .order_by(_j.epoch.desc(), _j.seq.desc()).limit(bindparam("most")))  # fmt: skip


def balance(conn: Connection, account_no: int) -> BalanceView:
    """Balance, money on the way and supply of an account. Raises RefusedCommand (unknown_account)."""
    held = account_of(conn, account_no)
    mirror = conn.execute(_MIRROR, {"of_account": account_no, "of_epoch": held.account_epoch}).one_or_none()
    status = conn.execute(_STATUS, {"of_meter": held.meter_no}).one_or_none()
    state = ledger_state(conn, account_no, held.account_epoch)
    return BalanceView(
        account_no, held.currency,
        mirror.balance_nano if mirror else 0, _as_of_ms(conn, mirror) if mirror else 0, mirror.seq if mirror else 0,
        pending_nano(conn, account_no), held.policy.low_balance_nano,
        SWITCHES.get(status.switch, SupplyState.UNKNOWN) if status else SupplyState.UNKNOWN, status.at_ms if status else 0,
        messages(conn, account_no), state.debt_nano if state else 0,
    )  # fmt: skip


def _as_of_ms(conn: Connection, mirror: Row[Any]) -> int:
    """The newest entry, or the newest reading from which the concentrator has told the same balance."""
    return max(int(mirror.at_ms), told_as_of_ms(conn, mirror.account_no, mirror.epoch, mirror.balance_nano))


def pending_nano(conn: Connection, account_no: int) -> int:
    """Money paid and not yet seen in the mirror, less refunds on the way. A debt on its way is none: it moves no balance. What was on its
    way to a concentrator that was replaced comes along with the present epoch's opening credit."""
    waiting: int = sum(row.amount_nano for row in waiting_payments(conn, account_no))
    return int(conn.execute(_UNSEEN, {"of_account": account_no}).scalar_one()) + waiting


def ledger_state(conn: Connection, account_no: int, epoch: int) -> LedgerState | None:
    """Where the mirror of an account stands, pool by pool; None before the edge has reported."""
    kept = conn.execute(_STATE, {"of_account": account_no, "of_epoch": epoch}).scalar_one_or_none()
    return state_from(conn, account_no, epoch, bytes(kept)) if kept is not None else None


def messages(conn: Connection, account_no: int, limit: int = MESSAGES_SHOWN) -> tuple[Notice, ...]:
    """What the edge told the consumer or decided about the supply, newest first."""
    told = conn.execute(_MESSAGES, {"of_account": account_no, "most": limit})
    return tuple(notice_of(entry_from(r.body), TELLING[r.kind]) for r in told)


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
        entry.epoch, entry.seq, entry.at_ms, Kind(entry.kind).name.lower(), sum(posted(entry, p) for p in OWN), row.balance_nano or 0,
        posted(entry, Pool.ENERGY) + posted(entry, Pool.FIXED), posted(entry, Pool.TAX), entry.register_before_wh,
        entry.register_after_wh, entry.tariff_version, entry.gseq,
    )  # fmt: skip


def posted(entry: LedgerEntry, pool: Pool) -> int:
    """What an entry moves into a pool."""
    return sum(p.amount_nano for p in entry.postings if p.pool == pool)
