"""How fast an account uses energy: the charged movement of its register over about the last day, from the mirrored journal.

The edge's display takes the same two entries (edge: display/account.py), so that both show the same time left.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from

WITH_REGISTER = (int(Kind.OPEN), int(Kind.ENERGY))


@dataclass(frozen=True, slots=True)
class Pace:
    """`used_wh` in the `over_ms` before the last charged reading."""

    used_wh: int
    over_ms: int


def pace(conn: Connection, account_no: int) -> Pace | None:
    """None before the journal holds a reading."""
    m = account_mirror.c
    newest = select(m.epoch).where(m.shard == SHARD, m.account_no == account_no).order_by(m.epoch.desc()).limit(1)
    epoch = conn.execute(newest).scalar_one_or_none()
    if epoch is None:
        return None
    last = _reading(conn, account_no, epoch)
    if last is None:
        return None
    since = _reading(conn, account_no, epoch, last.at_ms - MS_PER_DAY) or _reading(conn, account_no, epoch, first=True)
    if since is None or since.register_after_wh is None or last.register_after_wh is None:
        return None
    return Pace(last.register_after_wh - since.register_after_wh, last.at_ms - since.at_ms)


def _reading(
    conn: Connection, account_no: int, epoch: int, until_ms: int | None = None, *, first: bool = False
) -> LedgerEntry | None:
    """The last (or first) verified entry with a register, up to an instant where given."""
    j = journal_entry.c
    query = select(j.body).where(j.shard == SHARD, j.account_no == account_no, j.epoch == epoch, j.kind.in_(WITH_REGISTER), j.verified)
    if until_ms is not None:
        query = query.where(j.at_ms <= until_ms)
    body = conn.execute(query.order_by(j.seq if first else j.seq.desc()).limit(1)).scalar_one_or_none()
    return entry_from(body) if body is not None else None
