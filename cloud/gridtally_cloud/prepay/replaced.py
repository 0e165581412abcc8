"""An account changes its meter or its concentrator (prepayment.md 5.8, T29). Nothing is lost on the way.

* Another meter: the journal goes on; the configuration carries the registers of the work order. The mirror shows which meter the journal
  is at: of one that came and went while the concentrator heard nothing no register is told, nor one of the old meter at the beginning
  of an epoch that begins behind the new one.
* Another concentrator: a new epoch, which begins with what the mirror of the old one holds, with what was issued and not yet used
  (reissue.py), and at the register up to which the old one charged. What the old one still sends is set aside as evidence; it can write
  no more. What was used in between is priced at the edge, at the lowest rate, and told as an event for a person to look at.
* Schedules go along both ways (programs/follow.py), and to another concentrator open commands too (commands/addressed.py).
* Every refusal says whose fault it is and what to do; nothing is changed then.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from gridtally_cloud.commands import addressed
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.accounts import accounts_of_dcu, held, hold, hold_meter
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay import control, shared_wallets
from gridtally_cloud.prepay.closing import ended_at
from gridtally_cloud.prepay.handover import HandoverReason
from gridtally_cloud.prepay.handover_tables import CLOUD, EDGE, account_swap, is_managed, swap_of
from gridtally_cloud.prepay.instruments import CHANNEL, Source, issue
from gridtally_cloud.prepay.reissue import WAITING, Again, going_on
from gridtally_cloud.prepay.site_words import end_at
from gridtally_cloud.prepay.tables import instrument
from gridtally_cloud.programs import follow
from gridtally_cloud.store import outbox
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import dcu, meter
from gridtally_shared.contract.messages import InstrumentType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments import details as d
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.schedules.windows import zone_named
from gridtally_shared.signing import Signer
from gridtally_shared.tariff.daybook import starts_at

BEFORE_MONEY = frozenset({InstrumentType.HOLD, InstrumentType.PROTECT})
"""What keeps a supply off, or on, is at the new concentrator before the money that moves its switch."""

def swap_meter(
    conn: Connection, signer: Signer, account_no: int, meter_no: int, closing_wh: int | None, opening_wh: int | None, at_ms: int,
    actor: str,
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
    closing_wh = ended_at(conn, account.meter_no, state, closing_wh, at_ms) if is_seen else closing_wh
    _check_registers(state.register_wh or 0 if is_seen else 0, closing_wh, opening_wh)
    conn.execute(update(account_table).where(account_table.c.account_no == account_no).values(meter_no=meter_no))
    follow.to_meter(conn, signer, account_no, meter_no, at_ms, actor)
    addressed.off_meter(conn, account.meter_no, at_ms, actor)
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
    follow.to_edge(conn, signer, account_no, before.account_epoch, to_dcu, at_ms, actor)
    addressed.to_edge(conn, signer, before.meter_no, to_dcu, at_ms, actor)
    epoch, again = next_epoch(conn, signer, before, EDGE, at_ms, actor)
    text = f"{before.dcu} to {to_dcu}, epoch {epoch}, {again} orders issued again"
    record(conn, at_ms, actor, "account.edge_replaced", f"account:{account_no}", text)
    return epoch


def next_epoch(conn: Connection, signer: Signer, before: Account, kind: str, at_ms: int, actor: str) -> tuple[int, int]:
    """End the account's epoch with its mirror and begin the next one; its number, and how many orders were issued again. `kind` says who
    runs it (EDGE or CLOUD)."""
    account_no = before.account_no
    state = load(conn, account_no, before.account_epoch).state
    lent_nano, again = _lent_nano(conn, before, state, kind), going_on(conn, account_no, before.account_epoch, state)
    unused_nano = _unused_nano(conn, before, state) + state.pools.get(Pool.RESERVED, 0) - lent_nano
    epoch = before.account_epoch + 1
    end_at(conn, before.meter_no, at_ms)
    conn.execute(update(account_table).where(account_table.c.account_no == account_no).values(account_epoch=epoch))
    _note(conn, account_no, kind, state.register_wh, _begins_at(conn, before, state), _reached_ms(conn, before, state, at_ms), actor)
    _end_the_way(conn, before, state, at_ms)
    after = account_of(conn, account_no)
    _issue_again(conn, signer, after, [one for one in again if one.type in BEFORE_MONEY], at_ms)
    if before.is_prepaid or state.seq or unused_nano:
        _carry_over(conn, signer, after, state, unused_nano, at_ms, actor)
    if lent_nano:
        shared_wallets.carry_over(conn, signer, after, lent_nano, at_ms)
    _issue_again(conn, signer, after, [one for one in again if one.type not in BEFORE_MONEY], at_ms)
    return epoch, len(again)


def _issue_again(conn: Connection, signer: Signer, account: Account, orders: Sequence[Again], at_ms: int) -> None:
    for one in orders:
        issue(conn, signer, account, one.type, one.amount_nano, Source(f"again|{account.account_epoch}"), at_ms, one.detail)


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
    others = conn.execute(update(meter).where(meter.c.dcu == dcu_name).values(dcu=to_dcu).returning(meter.c.meter_no)).scalars().all()
    for meter_no in sorted(others):
        addressed.to_edge(conn, signer, meter_no, to_dcu, at_ms, actor)
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


def _reached_ms(conn: Connection, account: Account, state: LedgerState, at_ms: int) -> int:
    """Up to when the old epoch charged: its last register, and not before the last day it charged had begun; where it never began, up to
    when the one before it did. A concentrator whose clock was ahead may have written a time that is still to come: nothing is charged up
    to then."""
    if not state.register_at_ms:
        was = swap_of(conn, account.account_no)
        return min(at_ms, was.swapped_ms) if was is not None and was.kind in (EDGE, CLOUD) else at_ms
    day_ms = starts_at(state.charged_day, zone_named(account.zone)) + 1 if state.charged_day else 0
    return min(at_ms, max(state.register_at_ms, day_ms))


def _unused_nano(conn: Connection, account: Account, state: LedgerState) -> int:
    """Money issued to the old epoch that its mirror does not show as used. Debts and corrections are issued again as what they are."""
    i = instrument.c
    mine = (i.shard == SHARD, i.account_no == account.account_no, i.epoch == account.account_epoch)
    rows = conn.execute(select(i.gseq, i.amount_nano, i.type).where(*mine))
    return sum(r.amount_nano for r in rows if r.type not in WAITING and not state.used.is_used(r.gseq))


def _end_the_way(conn: Connection, account: Account, state: LedgerState, at_ms: int) -> None:
    """What is on its way to the old epoch goes along with the next one: nobody sends it any more, and nobody is told that it is late."""
    i = instrument.c
    mine = (i.shard == SHARD, i.account_no == account.account_no, i.epoch == account.account_epoch)
    for gseq in conn.execute(select(i.gseq).where(*mine)).scalars():
        if not state.used.is_used(gseq):
            outbox.done(conn, CHANNEL, outbox.instrument_ref(account.account_no, account.account_epoch, gseq), at_ms)


def _lent_nano(conn: Connection, account: Account, state: LedgerState, kind: str) -> int:
    """Of that money, and of what is left in the mirror, what belongs to a wallet that is shared. The MDM's own engine keeps none of it."""
    if kind != EDGE or shared_wallets.wallet_of(conn, account.account_no) is None:
        return 0
    i = instrument.c
    mine = (i.shard == SHARD, i.account_no == account.account_no, i.epoch == account.account_epoch, i.type == int(InstrumentType.LEASE))
    rows = conn.execute(select(i.gseq, i.amount_nano).where(*mine))
    waiting_nano: int = sum(r.amount_nano for r in rows if not state.used.is_used(r.gseq))
    return state.pools.get(Pool.RESERVED, 0) + waiting_nano


def _carry_over(
    conn: Connection, signer: Signer, account: Account, state: LedgerState, unused_nano: int, at_ms: int, actor: str
) -> None:
    """What the old epoch ends with opens the new one: balance less emergency credit in use, and each debt as a debt. An account that never
    had an instrument has none now: it is not used up, its first credit may be under way."""
    opening_nano = state.pools.get(Pool.PAID, 0) - state.emergency_used_nano + unused_nano
    if opening_nano or state.used.prefix or state.used.bitmap:
        issue(conn, signer, account, InstrumentType.OPENING, opening_nano, Source(f"epoch|{account.account_epoch}"), at_ms)
    debts = {"time": owed(state, Pool.DEBT_TIME), "payment": owed(state, Pool.DEBT_PAYMENT) + owed(state, Pool.DEBT)}
    for by, amount_nano in debts.items():
        if amount_nano:
            control.order(conn, signer, account.account_no, d.DebtTaken(by, d.CARRIED_OVER), at_ms, actor, owed_nano=amount_nano)


def _note(
    conn: Connection, account_no: int, kind: str, closing_wh: int | None, opening_wh: int | None, at_ms: int, actor: str
) -> None:
    upsert(conn, account_swap, {
        "account_no": account_no, "kind": kind, "closing_wh": closing_wh, "opening_wh": opening_wh, "swapped_ms": at_ms, "actor": actor,
    })  # fmt: skip
