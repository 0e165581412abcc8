"""What an account that pays ahead still owes on bills, or has in credit there, comes to its balance's side (BYPL-13.9, prepayment.md T3).

* A bill that came after the change of mode was ordered (the final one above all) becomes a debt, what is in credit becomes credit: each
  by a signed instrument, with the receivable that clears it in one transaction.
* The debt says what it is of (bills, an assessment, what an event took), here and on the statement, and the household is told.
* An account whose concentrator has to speak first after a restore of our store waits, and keeps no other one waiting.
* An account on its way to regular billing is left alone: its bills are where it is going.
* One whose meter refused to become prepaid is billed on: the credit that came along with the order goes back to its bills.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.billing import receivables
from gridtally_cloud.billing.tables import receivable
from gridtally_cloud.customers.accounts import held
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account, Mode
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.prepay import control
from gridtally_cloud.prepay.handover import ModeWish, brought_ref, newest_order, pending_mode
from gridtally_cloud.prepay.instruments import Source, issue, reference_hash
from gridtally_cloud.prepay.notices import tell
from gridtally_cloud.prepay.restored import may_issue
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database
from gridtally_cloud.workorders.service import OrderKind
from gridtally_cloud.workorders.tables import work_order
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.instruments import details as d
from gridtally_shared.signing import Signer, open_unverified

ACTOR = "final bill"
MOST_NAMES = 6


def settle(db: Database, signer: Signer, at_ms: int) -> int:
    """Carry over what is left on bills of accounts that pay ahead; how many accounts."""
    with db.read() as conn:
        numbers = _open_ones(conn)
    done = 0
    for account_no in numbers:
        with db.write() as conn:
            done += carry_bills(conn, signer, account_no, at_ms)
    return done + _take_back_all(db, signer, at_ms)


def _open_ones(conn: Connection) -> list[int]:
    a = account_table.c
    billed = select(receivable.c.account_no).distinct()
    query = select(a.account_no).where(a.mode == Mode.PREPAID.value, a.closed_ms.is_(None), a.account_no.in_(billed))
    return [no for no in conn.execute(query.order_by(a.account_no)).scalars() if receivables.outstanding_nano(conn, no)]


def carry_bills(conn: Connection, signer: Signer, account_no: int, at_ms: int) -> bool:
    """Clear what the bills of one account say."""
    account = held(conn, account_no)
    receivables.hold_books(conn, account_no)
    open_nano = receivables.outstanding_nano(conn, account_no)
    if not open_nano or not account.is_prepaid or not account.dcu or pending_mode(conn, account) is not None:
        return False
    if not may_issue(conn, account):
        return False
    if open_nano > 0:
        _as_debt(conn, signer, account, open_nano, at_ms)
    else:
        issue(conn, signer, account, InstrumentType.OPENING, -open_nano, Source(f"bill credit|{at_ms}"), at_ms)
    receivables.post_conversion(conn, account, -open_nano, at_ms, to_debt=open_nano > 0)
    return True


def _as_debt(conn: Connection, signer: Signer, account: Account, open_nano: int, at_ms: int) -> None:
    names = receivables.claims_of(conn, account.account_no, open_nano)
    what = ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "")
    detail = d.DebtTaken("payment", what or d.OF_BILLS)
    gseq = control.order(conn, signer, account.account_no, detail, at_ms, ACTOR, owed_nano=open_nano)
    if what:
        tell(conn, account.account_no, "debt_taken", f"{account.account_epoch}/{gseq}", at_ms, a=str(open_nano), what=what)


# ---- a change that the meter refused ------------------------------------------------------------------------------------


def _take_back_all(db: Database, signer: Signer, at_ms: int) -> int:
    with db.read() as conn:
        numbers = _refused_ones(conn, at_ms)
    done = 0
    for account_no in numbers:
        with db.write() as conn:
            done += _take_back(conn, signer, account_no, at_ms)
    return done


def _refused_ones(conn: Connection, at_ms: int) -> list[int]:
    """Accounts with an order about a refused change that is open, or young."""
    w = work_order.c
    recent = (w.closed_ms.is_(None)) | (w.closed_ms >= at_ms - MS_PER_DAY)
    found = conn.execute(select(w.account_no).where(w.kind == OrderKind.MODE_REVIEW.value, recent).distinct().order_by(w.account_no))
    return list(found.scalars())


def _take_back(conn: Connection, signer: Signer, account_no: int, at_ms: int) -> bool:
    account = held(conn, account_no)
    wish = newest_order(conn, account)
    if wish is None or not wish.refused or wish.mode is not Mode.PREPAID or account.is_prepaid or not account.dcu:
        return False
    amounts = _amounts(conn, account)
    brought_nano, back = amounts.get(reference_hash(brought_ref(wish.at_ms)), 0), Source(_back_ref(wish))
    if not brought_nano or reference_hash(back.reference) in amounts:
        return False
    issue(conn, signer, account, InstrumentType.OPENING, -brought_nano, back, at_ms)
    receivables.post_conversion(conn, account, -brought_nano, at_ms)
    record(conn, at_ms, "system:settling", "account.credit_returned", f"account:{account_no}", f"{brought_nano} nano back to the bills")
    return True


def _back_ref(wish: ModeWish) -> str:
    return f"conversion refused|{wish.gseq}"


def _amounts(conn: Connection, account: Account) -> dict[bytes, int]:
    """Credit that came from elsewhere, by what it stands for."""
    i = instrument.c
    mine = (i.shard == SHARD, i.account_no == account.account_no, i.epoch == account.account_epoch, i.type == int(InstrumentType.OPENING))
    made = (decode(Instrument, open_unverified(bytes(e))[1]) for e in conn.execute(select(i.envelope).where(*mine)).scalars())
    return {m.payment_ref: m.amount_nano for m in made}
