"""An account changes its way of paying (prepayment.md 5.8, T2, T3). Nothing is lost on the way.

* A change of mode is ordered by a signed instrument; a deposit and credit of bills come along as credit. It is done when the mirror
  shows the MODE entry: then the account's mode is the new one; the rest of prepaid credit is a credit on the next bill, and regular
  billing ends with a final bill to that very reading. What is owed on bills becomes a debt then (settling.py).
* A change that the meter refuses is over, and the account stays as it is (withdrawn.py); credit that came along goes back to the bills.
* Another meter or concentrator: replaced.py. Every refusal says whose fault it is and what to do; nothing is changed then.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, select, update

from gridtally_cloud.billing import deposits, receivables
from gridtally_cloud.billing.final import issue_final
from gridtally_cloud.customers import eligible
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import held
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account, Mode
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.prepay import control
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.prepay.instruments import Source, issue
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.prepay.withdrawn import withdrawn
from gridtally_cloud.programs import follow
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.conversion import handed_over_nano
from gridtally_shared.ledger.entries import LedgerEntry
from gridtally_shared.money import decimal_text
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer, open_unverified

MODES = {Mode.PREPAID: AccountMode.PREPAID, Mode.POSTPAID: AccountMode.POSTPAID}
NAMES = {int(number): mode for mode, number in MODES.items()}


class HandoverReason(StrEnum):
    SAME_MODE = "same_mode"
    CHANGE_PENDING = "change_pending"
    DEPOSIT = "deposit"
    SAME_EDGE = "same_edge"
    UNKNOWN_EDGE = "unknown_edge"
    SAME_METER = "same_meter"
    UNKNOWN_METER = "unknown_meter"
    METER_IN_USE = "meter_in_use"
    OTHER_EDGE = "other_edge"
    REGISTER = "register"
    MANAGED = "managed"
    SCHEDULES = "schedules_open"


@dataclass(frozen=True, slots=True)
class ModeWish:
    """An ordered change. `refused`: what the meter answered, '' where it did not refuse."""

    gseq: int
    at_ms: int
    mode: Mode
    refused: str


def convert(
    conn: Connection, signer: Signer, account_no: int, mode: Mode, at_ms: int, actor: str, deposit_nano: int = 0
) -> int:
    """Order the change; the number of its instrument. `deposit_nano`: a security deposit that is held elsewhere, given back as credit
    (safety.md 19); what our own books hold comes along by itself. Raises RefusedCommand (same_mode, change_pending, deposit,
    tariff_not_prepaid, no_dcu, schedules_open, unknown_account)."""
    account = held(conn, account_no)
    check_change(conn, account, mode, deposit_nano)
    if mode is Mode.PREPAID:
        eligible.check_prepaid(conn, account.tariff_id, account.zone, at_ms)
        deposit_nano = deposits.to_prepayment(conn, account, deposit_nano, at_ms, actor)
        _bring_along(conn, signer, account, at_ms, actor, deposit_nano)
    return control.order(conn, signer, account_no, d.ModeOrder(MODES[mode]), at_ms, actor)


def check_change(conn: Connection, account: Account, mode: Mode, deposit_nano: int, served: bool = True) -> None:
    """Whether the way of paying may be changed. `served` False: a concentrator may still have to come. Raises RefusedCommand."""
    if account.mode is mode:
        raise RefusedCommand(HandoverReason.SAME_MODE, f"account {account.account_no} is {mode.value} already; nothing to change")
    if is_managed(conn, account.account_no):
        raise RefusedCommand(HandoverReason.MANAGED, f"account {account.account_no} is managed from here: give it back to its "
                             "concentrator first, which changes the mode with a reading of its own")  # fmt: skip
    if served and not account.dcu:
        raise RefusedCommand(control.ControlReason.NO_DCU, f"no concentrator serves the meter of account {account.account_no}: install "
                             "it and bind it to one first")  # fmt: skip
    if pending_mode(conn, account) is mode:
        raise RefusedCommand(HandoverReason.CHANGE_PENDING, f"account {account.account_no} is on its way to {mode.value} already: it is "
                             "done with the next reading its concentrator sends")  # fmt: skip
    if mode is Mode.POSTPAID and follow.open_ones(conn, account.account_no):
        raise RefusedCommand(HandoverReason.SCHEDULES, f"account {account.account_no} has schedules, and who pays for an event is known "
                             "only where its credit is kept: wait for their end, or cancel them, first")  # fmt: skip
    if deposit_nano < 0 or (deposit_nano and mode is Mode.POSTPAID):
        raise RefusedCommand(HandoverReason.DEPOSIT, "a deposit is given back when an account becomes prepaid: write an amount above "
                             "zero there, and none on the way to postpaid")  # fmt: skip


def pending_mode(conn: Connection, account: Account) -> Mode | None:
    """The mode that is ordered and not done yet."""
    newest = newest_order(conn, account)
    if newest is None or newest.mode is account.mode or newest.refused:
        return None
    return newest.mode


def newest_order(conn: Connection, account: Account) -> ModeWish | None:
    """The newest change that was ordered, done or not."""
    i = instrument.c
    mine = (i.shard == SHARD, i.account_no == account.account_no, i.epoch == account.account_epoch, i.type == int(InstrumentType.MODE_SET))
    row = conn.execute(select(i.gseq, i.issued_ms, i.envelope).where(*mine).order_by(i.gseq.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    mode = NAMES.get(detail_of(decode(Instrument, open_unverified(bytes(row.envelope))[1])).mode)
    refused = withdrawn(conn, account.account_no, account.account_epoch).get(row.gseq, "")
    return ModeWish(row.gseq, row.issued_ms, mode, refused) if mode is not None else None


def _bring_along(conn: Connection, signer: Signer, account: Account, at_ms: int, actor: str, deposit_nano: int) -> None:
    """A deposit or a credit on the bills becomes credit."""
    bills_nano = max(0, -receivables.outstanding_nano(conn, account.account_no))
    if bills_nano:
        receivables.post_conversion(conn, account, bills_nano, at_ms)
    if deposit_nano + bills_nano:
        issue(conn, signer, account, InstrumentType.OPENING, deposit_nano + bills_nano, Source(brought_ref(at_ms)), at_ms)
    if deposit_nano:
        text = f"{deposit_nano} nano given back as credit"
        record(conn, at_ms, actor, "account.deposit_returned", f"account:{account.account_no}", text)


def brought_ref(ordered_ms: int) -> str:
    """What the credit that came along with an order of this time is called by."""
    return f"conversion|{ordered_ms}"


def mirrored(conn: Connection, entry: LedgerEntry) -> None:
    """The mirror shows a change of mode: it is done, and what was left of prepaid credit is on the next bill."""
    mode = NAMES.get(entry.mode, Mode.POSTPAID)
    conn.execute(update(account_table).where(account_table.c.account_no == entry.account_no).values(mode=mode.value))
    rest_nano = handed_over_nano(entry.postings)
    if rest_nano:
        receivables.post_conversion(conn, account_of(conn, entry.account_no), -rest_nano, entry.at_ms)
    if mode is Mode.PREPAID:
        issue_final(conn, entry.account_no, entry.at_ms, entry.at_ms)
    announce(conn, Topic.MODE_CHANGED, f"{entry.account_no}/{entry.epoch}/{entry.seq}", entry.at_ms, f"/accounts/{entry.account_no}", {
        "account_no": entry.account_no, "meter_no": entry.meter_no, "mode": mode.value, "completed_ms": entry.at_ms,
        "register_wh": entry.register_after_wh, "carried": decimal_text(rest_nano),
    })  # fmt: skip
    record(conn, entry.at_ms, "edge", "account.converted", f"account:{entry.account_no}", f"{mode.value} at {entry.register_after_wh} Wh")
