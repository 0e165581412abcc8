"""A store that was put back from an older copy: no number an edge has used is issued again, no payment credited twice.

* `meta.note_restore` gives the store another name, at which each edge greets again. Until an edge has, and its journals have come up to
  where it says they are, nothing is issued to it: money waits as paid, an order is refused with the reason.
* A greeting tells the numbers used. Where they are above what this store issued, it counts on above them. A number in between that no
  edge has used would hold up every order after it: it is issued again as a test, which moves nothing.
* A payment that is captured again and stands in the journal already is tied to its entry. What else was lost stands in the journals;
  `gridtally-mdm ledger` names each.

Source: architecture.md 4 (restores); prepayment.md 5.3.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, and_, bindparam, func, select

from gridtally_cloud.commands.service import raise_command_counter
from gridtally_cloud.customers.model import Account
from gridtally_cloud.prepay.instrument_tables import instrument_floor
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store import meta
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import account_mirror, journal_entry
from gridtally_cloud.store.tables import dcu as dcu_table
from gridtally_shared.contract.messages import AccountHead, Hello
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from

WAITS_FOR_EDGE = "waits_for_edge"
MOST_KEYS = 16

log = logging.getLogger(__name__)


def may_issue(conn: Connection, account: Account) -> bool:
    """Whether it is known which numbers the account's edge has used, and what for."""
    since_ms = meta.restored_ms(conn)
    if since_ms is None or account.dcu is None:
        return True
    heard_ms = conn.execute(select(dcu_table.c.last_hello_ms).where(dcu_table.c.dcu == account.dcu)).scalar_one_or_none()
    return heard_ms is not None and heard_ms > since_ms and _is_refilled(conn, account)


def check_may_issue(conn: Connection, account: Account) -> None:
    """Raises RefusedCommand (waits_for_edge)."""
    if not may_issue(conn, account):
        text = f"the store was put back from an older copy and {account.dcu} has not brought what it lacks: try again when it is online"
        raise RefusedCommand(WAITS_FOR_EDGE, text)


def _is_refilled(conn: Connection, account: Account) -> bool:
    f, m = instrument_floor.c, account_mirror.c
    told = conn.execute(select(f.seq).where(f.account_no == account.account_no, f.epoch == account.account_epoch)).scalar_one_or_none()
    mine = and_(m.shard == SHARD, m.account_no == account.account_no, m.epoch == account.account_epoch)
    return told is None or (conn.execute(select(m.seq).where(mine)).scalar_one_or_none() or 0) >= told


def take_numbers(conn: Connection, hello: Hello, accounts: tuple[Account, ...], now_ms: int) -> tuple[tuple[Account, int], ...]:
    """Count on above every number the edge has used. What neither side has used in between, lowest first."""
    for counter in hello.counters[:MOST_KEYS]:
        raise_command_counter(conn, hello.dcu, counter.key_id, counter.highest)
    mine = {(a.account_no, a.account_epoch): a for a in accounts}
    issued = _issued(conn, [account_no for account_no, _ in mine])
    holes: list[tuple[Account, int]] = []
    for head in hello.accounts:
        account, known = mine.get((head.account_no, head.epoch)), issued.get((head.account_no, head.epoch), 0)
        if account is not None and highest(head) > known:
            raise_floor(conn, account, known, head.seq, now_ms)
            holes += [(account, gseq) for gseq in range(max(known, head.gseq_prefix) + 1, highest(head)) if not _is_used(head, gseq)]
            holes.append((account, highest(head)))
            log.warning("an edge has used instruments this store did not issue", extra={"account_no": head.account_no})
    return tuple(holes)


def raise_floor(conn: Connection, account: Account, gseq: int, seq: int, now_ms: int) -> None:
    upsert(conn, instrument_floor, {
        "account_no": account.account_no, "epoch": account.account_epoch, "gseq": gseq, "seq": seq, "told_ms": now_ms,
    })  # fmt: skip


def highest(head: AccountHead) -> int:
    return head.gseq_prefix + head.gseq_bitmap.bit_length()


def _is_used(head: AccountHead, gseq: int) -> bool:
    return bool(head.gseq_bitmap >> (gseq - head.gseq_prefix - 1) & 1)


_i, _f = instrument.c, instrument_floor.c
_HIGHEST = (select(_i.account_no, _i.epoch, func.max(_i.gseq))
            .where(_i.shard == SHARD, _i.account_no.in_(bindparam("accounts", expanding=True)))
            .group_by(_i.account_no, _i.epoch))  # fmt: skip
_FLOORS = select(_f.account_no, _f.epoch, _f.gseq)
_FLOOR = select(_f.gseq).where(_f.account_no == bindparam("of_account"), _f.epoch == bindparam("of_epoch"))


def _issued(conn: Connection, accounts: list[int]) -> dict[tuple[int, int], int]:
    """The highest number of each account that this store issued, or knows to be used."""
    found: dict[tuple[int, int], int] = {}
    for account_no, epoch, gseq in (*conn.execute(_HIGHEST, {"accounts": accounts}), *conn.execute(_FLOORS)):
        found[account_no, epoch] = max(gseq, found.get((account_no, epoch), 0))
    return found


def floor_of(conn: Connection, account_no: int, epoch: int) -> int:
    """The highest number of an account that was used and not issued here; 0 where there is none."""
    return int(conn.execute(_FLOOR, {"of_account": account_no, "of_epoch": epoch}).scalar_one_or_none() or 0)


def credited_before(conn: Connection, account: Account, reference: bytes) -> LedgerEntry | None:
    """The entry that credited a payment before the store was put back."""
    j, i = journal_entry.c, instrument.c
    floor = floor_of(conn, account.account_no, account.account_epoch)
    if not floor:
        return None
    known = select(i.gseq).where(i.shard == SHARD, i.account_no == account.account_no, i.epoch == account.account_epoch)
    mine = and_(j.shard == SHARD, j.account_no == account.account_no, j.epoch == account.account_epoch, j.verified)
    lost = and_(mine, j.kind == int(Kind.CREDIT), j.gseq.between(1, floor), j.gseq.not_in(known))
    entries = (entry_from(bytes(body)) for body in conn.execute(select(j.body).where(lost)).scalars())
    return next((entry for entry in entries if entry.cause == reference), None)
