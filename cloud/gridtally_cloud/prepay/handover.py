"""An account changes its way of paying, its meter or its concentrator (prepayment.md 5.8, T2, T3, T29). Nothing is lost on the way.

* A change of mode is ordered by a signed instrument; a deposit and credit of bills come along as credit. It is done when the mirror
  shows the MODE entry: then the account's mode is the new one; the rest of prepaid credit is a credit on the next bill, and regular
  billing ends with a final bill to that very reading. What is owed on bills becomes a debt then (settling.py).
* A change that the meter refuses is over, and the account stays as it is (withdrawn.py); credit that came along goes back to the bills.
* Another meter: the journal goes on; the configuration carries the registers of the work order. The mirror shows which meter the journal
  is at: of one that came and went while the concentrator heard nothing no register is told, nor one of the old meter at the beginning
  of an epoch that begins behind the new one.
* Another concentrator: a new epoch, which begins with what the mirror of the old one holds, with what was issued and not yet used
  (reissue.py), and at the register up to which the old one charged. What the old one still sends is set aside as evidence; it can write
  no more. What was used in between is priced at the edge, at the lowest rate, and told as an event for a person to look at.
* Every refusal says whose fault it is and what to do; nothing is changed then.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, select, update

from gridtally_cloud.billing import deposits, receivables
from gridtally_cloud.billing.final import issue_final
from gridtally_cloud.customers import eligible
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import accounts_of_dcu, held, hold, hold_meter
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account, Mode
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.prepay import control
from gridtally_cloud.prepay.handover_tables import EDGE, account_swap, is_managed, swap_of
from gridtally_cloud.prepay.instruments import Source, issue
from gridtally_cloud.prepay.reissue import WAITING, going_on
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.prepay.withdrawn import withdrawn
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import dcu, meter
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.instruments.forms import detail_of
from gridtally_shared.ledger.entries import LedgerEntry, Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.money import decimal_text
from gridtally_shared.records import dataclass
from gridtally_shared.schedules.windows import zone_named
from gridtally_shared.signing import Signer, open_unverified
from gridtally_shared.tariff.daybook import starts_at

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


# ---- way of paying


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
    tariff_not_prepaid, no_dcu, unknown_account)."""
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
    rest_nano = sum(p.amount_nano for p in entry.postings if p.pool == Pool.TRANSFER)
    if rest_nano:
        receivables.post_conversion(conn, account_of(conn, entry.account_no), -rest_nano, entry.at_ms)
    if mode is Mode.PREPAID:
        issue_final(conn, entry.account_no, entry.at_ms, entry.at_ms)
    announce(conn, Topic.MODE_CHANGED, f"{entry.account_no}/{entry.epoch}/{entry.seq}", entry.at_ms, f"/accounts/{entry.account_no}", {
        "account_no": entry.account_no, "meter_no": entry.meter_no, "mode": mode.value, "completed_ms": entry.at_ms,
        "register_wh": entry.register_after_wh, "carried": decimal_text(rest_nano),
    })  # fmt: skip
    record(conn, entry.at_ms, "edge", "account.converted", f"account:{entry.account_no}", f"{mode.value} at {entry.register_after_wh} Wh")


# ---- another meter, another concentrator


def swap_meter(
    conn: Connection, account_no: int, meter_no: int, closing_wh: int | None, opening_wh: int | None, at_ms: int, actor: str
) -> None:
    """Bind another meter, with the registers of the work order (None: not read). Raises RefusedCommand (same_meter, unknown_meter,
    meter_in_use, other_edge, register, unknown_account)."""
    account = held(conn, account_no)
    hold_meter(conn, meter_no)
    if is_managed(conn, account_no):
        raise RefusedCommand(HandoverReason.MANAGED, f"account {account_no} is managed from here: give it back to its concentrator first")
    _check_meter(conn, account, meter_no)
    state, begun = load(conn, account_no, account.account_epoch).state, swap_of(conn, account_no)
    is_seen = state.meter_no in (0, account.meter_no)
    _check_registers(state.register_wh or 0 if is_seen else 0, closing_wh, opening_wh)
    conn.execute(update(account_table).where(account_table.c.account_no == account_no).values(meter_no=meter_no))
    if begun is not None and begun.kind == EDGE and state.opened_wh is None:
        _note(conn, account_no, EDGE, None, opening_wh, begun.swapped_ms, actor)
    else:
        _note(conn, account_no, "meter", closing_wh if is_seen else None, opening_wh, at_ms, actor)
    record(conn, at_ms, actor, "account.meter_swapped", f"account:{account_no}", f"meter {account.meter_no} to {meter_no}")


def _check_meter(conn: Connection, account: Account, meter_no: int) -> None:
    if account.meter_no == meter_no:
        raise RefusedCommand(HandoverReason.SAME_METER, f"meter {account.meter_serial} serves account {account.account_no} already: name "
                             "the new one")  # fmt: skip
    found = conn.execute(select(meter.c.serial, meter.c.dcu, meter.c.removed_ms).where(meter.c.meter_no == meter_no)).first()
    if found is None or found.removed_ms is not None:
        raise RefusedCommand(HandoverReason.UNKNOWN_METER, f"no meter {meter_no} is installed: register it first")
    if found.dcu != account.dcu:
        raise RefusedCommand(HandoverReason.OTHER_EDGE, f"meter {found.serial} is served by {found.dcu or 'no concentrator'}, the account "
                             f"by {account.dcu}: bind the meter to {account.dcu} first")  # fmt: skip
    t = account_table.c
    holder = conn.execute(select(t.account_no).where(t.meter_no == meter_no, t.closed_ms.is_(None))).scalar_one_or_none()
    if holder is not None:
        raise RefusedCommand(HandoverReason.METER_IN_USE, f"meter {found.serial} serves account {holder}: check the serial")


def _check_registers(charged_wh: int, closing_wh: int | None, opening_wh: int | None) -> None:
    if closing_wh is not None and closing_wh < charged_wh:
        raise RefusedCommand(HandoverReason.REGISTER, f"the old meter is charged up to {charged_wh / 1000:.3f} kWh, the work "
                             f"order ends it at {closing_wh / 1000:.3f}: read the number again, or leave it empty")  # fmt: skip
    if opening_wh is not None and opening_wh < 0:
        raise RefusedCommand(HandoverReason.REGISTER, "a register is never below zero: read the new meter again, or leave it empty")


def meter_called(conn: Connection, serial: str) -> int:
    """The number of the meter with this serial. Raises RefusedCommand (unknown_meter)."""
    found = conn.execute(select(meter.c.meter_no).where(meter.c.serial == serial)).scalar_one_or_none()
    if found is None:
        raise RefusedCommand(HandoverReason.UNKNOWN_METER, f"no meter has the serial {serial!r}: check it, or register the meter first")
    return int(found)


def replace_edge(conn: Connection, signer: Signer, account_no: int, to_dcu: str, at_ms: int, actor: str) -> int:
    """Hand the account and its meter to another concentrator; the new epoch. Raises RefusedCommand (same_edge, unknown_edge)."""
    before = held(conn, account_no)
    if before.dcu == to_dcu:
        raise RefusedCommand(HandoverReason.SAME_EDGE, f"{to_dcu} serves account {account_no} already; name another concentrator")
    _check_edge(conn, to_dcu)
    conn.execute(update(meter).where(meter.c.meter_no == before.meter_no).values(dcu=to_dcu))
    epoch, again = next_epoch(conn, signer, before, EDGE, at_ms, actor)
    text = f"{before.dcu} to {to_dcu}, epoch {epoch}, {again} orders issued again"
    record(conn, at_ms, actor, "account.edge_replaced", f"account:{account_no}", text)
    return epoch


def next_epoch(conn: Connection, signer: Signer, before: Account, kind: str, at_ms: int, actor: str) -> tuple[int, int]:
    """End the account's epoch with its mirror and begin the next one; its number, and how many orders were issued again. `kind` says who
    runs it (EDGE or CLOUD)."""
    account_no = before.account_no
    state = load(conn, account_no, before.account_epoch).state
    unused_nano, again = _unused_nano(conn, before, state), going_on(conn, account_no, before.account_epoch, state)
    epoch = before.account_epoch + 1
    conn.execute(update(account_table).where(account_table.c.account_no == account_no).values(account_epoch=epoch))
    _note(conn, account_no, kind, state.register_wh, _begins_at(conn, before, state), _reached_ms(before, state, at_ms), actor)
    after = account_of(conn, account_no)
    if before.is_prepaid or state.seq or unused_nano:
        _carry_over(conn, signer, after, state, unused_nano, at_ms, actor)
    for one in again:
        issue(conn, signer, after, one.type, one.amount_nano, Source(f"again|{epoch}"), at_ms, one.detail)
    return epoch, len(again)


def replace_whole_edge(conn: Connection, signer: Signer, dcu_name: str, to_dcu: str, at_ms: int, actor: str) -> tuple[int, ...]:
    """A concentrator is dead: hand all it served to another one; the accounts with their new epochs. Raises RefusedCommand."""
    if dcu_name == to_dcu:
        raise RefusedCommand(HandoverReason.SAME_EDGE, f"{to_dcu} can not take its own place; name the one that comes for it")
    _check_edge(conn, dcu_name)
    _check_edge(conn, to_dcu)
    numbers = tuple(a.account_no for a in accounts_of_dcu(conn, dcu_name))
    hold(conn, *numbers)
    for account_no in numbers:
        replace_edge(conn, signer, account_no, to_dcu, at_ms, actor)
    conn.execute(update(meter).where(meter.c.dcu == dcu_name).values(dcu=to_dcu))
    record(conn, at_ms, actor, "dcu.replaced", f"dcu:{dcu_name}", f"{to_dcu}, {len(numbers)} accounts")
    return numbers


def _check_edge(conn: Connection, name: str) -> None:
    if conn.execute(select(dcu.c.dcu).where(dcu.c.dcu == name)).first() is None:
        raise RefusedCommand(HandoverReason.UNKNOWN_EDGE, f"no concentrator is called {name}; enrol it first")


def _begins_at(conn: Connection, account: Account, state: LedgerState) -> int | None:
    """The register with which the next epoch begins: where the old one charged to, unless another meter is there by now."""
    if state.meter_no == account.meter_no:
        return state.register_wh
    before = swap_of(conn, account.account_no)
    return before.opening_wh if before is not None else None


def _reached_ms(account: Account, state: LedgerState, at_ms: int) -> int:
    """Up to when the old epoch charged: its last register, and not before the last day it charged had begun."""
    if not state.register_at_ms:
        return at_ms
    day_ms = starts_at(state.charged_day, zone_named(account.zone)) + 1 if state.charged_day else 0
    return max(state.register_at_ms, day_ms)


def _unused_nano(conn: Connection, account: Account, state: LedgerState) -> int:
    """Money issued to the old epoch that its mirror does not show as used. Debts and corrections are issued again as what they are."""
    i = instrument.c
    mine = (i.shard == SHARD, i.account_no == account.account_no, i.epoch == account.account_epoch)
    rows = conn.execute(select(i.gseq, i.amount_nano, i.type).where(*mine))
    return sum(r.amount_nano for r in rows if r.type not in WAITING and not state.used.is_used(r.gseq))


def _carry_over(
    conn: Connection, signer: Signer, account: Account, state: LedgerState, unused_nano: int, at_ms: int, actor: str
) -> None:
    """What the old epoch ends with opens the new one: balance less emergency credit in use, and each debt as a debt. An account that never
    had an instrument has none now: it is not used up, its first credit may be under way."""
    opening_nano = state.balance_nano - state.emergency_used_nano + unused_nano
    if opening_nano or state.used.prefix or state.used.bitmap:
        issue(conn, signer, account, InstrumentType.OPENING, opening_nano, Source(f"epoch|{account.account_epoch}"), at_ms)
    debts = {"time": owed(state, Pool.DEBT_TIME), "payment": owed(state, Pool.DEBT_PAYMENT) + owed(state, Pool.DEBT)}
    for by, amount_nano in debts.items():
        if amount_nano:
            control.order(conn, signer, account.account_no, d.DebtTaken(by, "carried over"), at_ms, actor, owed_nano=amount_nano)


def _note(
    conn: Connection, account_no: int, kind: str, closing_wh: int | None, opening_wh: int | None, at_ms: int, actor: str
) -> None:
    upsert(conn, account_swap, {
        "account_no": account_no, "kind": kind, "closing_wh": closing_wh, "opening_wh": opening_wh, "swapped_ms": at_ms, "actor": actor,
    })  # fmt: skip
