"""Safety and work holds of meters whose account this box does not run: the MDM runs it itself, or nobody pays there in advance.

* They stand here by meter, and no close of it passes, whoever signed it (command_switch.py). What the journal of an account would say goes
  up as an entry of its own, at once; the MDM writes it into the journal it runs.
* The MDM tells with the configuration how it stands with each (`MeterConfig.held`), so that a box with an old disk, or another box, knows
  them. What was said here and is not among what the MDM names as heard came later, and stands above it.
* What a configuration does not name any more stands on: these holds are lifted on site only (safety.md 1).

Source: safety.md 1, 17; prepayment.md T27, 5.8; docs/adr/0015.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from gridtally_edge.prepay.rows import OrderRow, one, save, some
from gridtally_edge.prepay.site_rows import MeterHoldRow
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, EntryKind, InstrumentType, Lane, MeterConfig
from gridtally_shared.contract.prepay_messages import SiteEntry
from gridtally_shared.instruments.details import LIFTED_ON_SITE, HoldOrder
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import detail
from gridtally_shared.ledger.standing_orders import HOLD, evidence_with


def say(turn: Turn, meter_no: int, order: HoldOrder, seen: str, by: str = "", account_no: int = 0) -> None:
    """A hold is set or lifted here; the MDM is told."""
    evidence = evidence_with(InstrumentType.HOLD, order, seen, by=by, reason=order.reason)
    entry_id = tell(turn, meter_no, Kind.CONTROL, detail(evidence), account_no)
    save(turn.db, MeterHoldRow(meter_no, order.reason, int(order.on), entry_id, 0, account_no, turn.now_ms))


def tell(turn: Turn, meter_no: int, kind: Kind, body: bytes, account_no: int = 0) -> bytes:
    """What would stand in the account's journal if it were here; the number of the entry."""
    entry_id = os.urandom(16)
    entry = SiteEntry(entry_id, meter_no, int(kind), turn.now_ms, body, account_no)
    turn.outbox.append(EntryKind.SITE, entry, Lane.URGENT, turn.now_ms)
    return entry_id


def standing_at(turn: Turn, meter_no: int) -> tuple[str, ...]:
    return tuple(row.reason for row in _at(turn, meter_no) if row.value)


def told_at(turn: Turn, meter_no: int) -> tuple[str, ...]:
    """What else keeps the supply off by the MDM, which sets and lifts it: nobody on site closes above it."""
    meter = turn.plan.meters.get(meter_no)
    held = meter.held if meter is not None and meter_no not in turn.plan.by_meter else ()
    return tuple(hold.reason for hold in held if hold.on and hold.reason not in LIFTED_ON_SITE)


def not_heard_of(turn: Turn, account: AccountConfig) -> frozenset[str]:
    """Holds that stand at the supply of an account and of which the MDM may not have heard."""
    return frozenset(row.reason for row in _of(turn, account) if row.value and not row.heard)


def named_so(turn: Turn, account_no: int, reason: str) -> int:
    """The meter with a hold that was named by an account which nobody tells us of any more; 0: none."""
    rows = some(turn.db, MeterHoldRow, "WHERE account_no = ? AND reason = ? AND value <> 0", account_no, reason)
    return next((row.meter_no for row in rows if account_no), 0)


def before_account(turn: Turn, account: AccountConfig) -> frozenset[str]:
    """What was held at the supply before the account came here, until its own journal says something about it. It comes with another meter
    where that was changed meanwhile."""
    return frozenset(row.reason for row in _of(turn, account) if row.value and not _is_said(turn, account, row.reason))


def forget_said(turn: Turn, accounts: Iterable[AccountConfig]) -> None:
    """The journals of accounts that were run here say by themselves what stands."""
    for account in accounts:
        for row in _of(turn, account):
            if _is_said(turn, account, row.reason):
                turn.db.execute("DELETE FROM meter_hold WHERE meter_no = ? AND reason = ?", (row.meter_no, row.reason))


def forget_over(turn: Turn, account: AccountConfig, meter: MeterConfig) -> None:
    """Of an old disk: what was said before the account came here, and the MDM has heard, and knows to be lifted since."""
    over = {hold.reason: hold.heard for hold in meter.held if not hold.on}
    for row in _of(turn, account):
        if row.reason in over and (row.heard or row.entry_id in over[row.reason]):
            turn.db.execute("DELETE FROM meter_hold WHERE meter_no = ? AND reason = ?", (row.meter_no, row.reason))


def compare(turn: Turn, meter: MeterConfig) -> None:
    """How it stands by the MDM, but for what was said here and has not come to it."""
    for hold in meter.held:
        row = one(turn.db, MeterHoldRow, meter.meter_no, hold.reason)
        if hold.reason in LIFTED_ON_SITE and (row is None or row.heard or row.entry_id in hold.heard):
            entry_id = hold.heard[-1] if hold.heard else b""
            save(turn.db, MeterHoldRow(meter.meter_no, hold.reason, int(hold.on), entry_id, 1, meter.run_account_no, turn.now_ms))


def _at(turn: Turn, meter_no: int) -> list[MeterHoldRow]:
    return some(turn.db, MeterHoldRow, "WHERE meter_no = ? ORDER BY reason", meter_no)


def _of(turn: Turn, account: AccountConfig) -> list[MeterHoldRow]:
    """Of its meter, and of the meter it had when it was named there."""
    return some(turn.db, MeterHoldRow, "WHERE meter_no = ? OR account_no = ? ORDER BY reason", account.meter_no, account.account_no)


def _is_said(turn: Turn, account: AccountConfig, reason: str) -> bool:
    return one(turn.db, OrderRow, account.account_no, account.account_epoch, HOLD + reason) is not None
