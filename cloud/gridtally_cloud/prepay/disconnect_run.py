"""A run over the wallets that have reached zero: who is told, and, after the notice, one order for the group that is still there.

* It is for utilities whose head end orders the cut. An edge cuts by itself under its policy whether or not a run is made, and its own
  guards and holds stand above every order of a run (safety.md 1, 5).
* First each consumer is told when the supply stops and what to pay. The order goes out after the notice, to those still at zero then;
  all its commands carry the group's order id, and each is given once.
* Left out, with the reason on record: whose account is run from here (its own engine cuts it), whose policy does not cut at zero, any
  hold or protection of the record or ordered, hours or days without cuts, a grace (overdraft, days after a conversion, emergency credit
  not used up), money on its way, a mirror that is old or stopped, no switch or a switch that is not closed. What is not known is a
  reason to leave out.

Source: BYPL-3.1, BYPL-3.2; prepayment.md 3.5.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.assets.account_config import account_config
from gridtally_cloud.commands import service as commanding
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers import outgoing
from gridtally_cloud.customers.accounts import all_accounts, held, hold
from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.model import Account
from gridtally_cloud.ingest.mirror import load
from gridtally_cloud.prepay.disconnect_tables import disconnect_item, disconnect_run
from gridtally_cloud.prepay.handover_tables import is_managed
from gridtally_cloud.prepay.held import protections_of
from gridtally_cloud.prepay.model import BalanceView, SupplyState
from gridtally_cloud.prepay.policies import rules_at
from gridtally_cloud.prepay.wallet import balance
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import journal_entry
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.prepay.holds import holds_against_cut
from gridtally_shared.prepay.ordered import NONPAYMENT
from gridtally_shared.prepay.policy import Overdraft, Policy, ZeroAction
from gridtally_shared.prepay.protection import Calendar
from gridtally_shared.prepay.zones import zone_of
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

LEAD_MS = MS_PER_DAY
STALE_MS = 2 * MS_PER_HOUR
ACTOR = "system:disconnect-run"


class RunReason(StrEnum):
    UNKNOWN_RUN = "unknown_run"
    NOTICE_RUNS = "notice_runs"


@dataclass(frozen=True, slots=True)
class Item:
    """One account of a run. `state`: announced, left_out (see `reason`), ordered."""

    account_no: int
    meter_no: int
    balance_nano: int
    state: str
    reason: str
    cmd_id: bytes | None


@dataclass(frozen=True, slots=True)
class Run:
    run_no: int
    order_id: bytes
    state: str
    announced_ms: int
    due_ms: int
    ordered_ms: int | None
    items: tuple[Item, ...]

    @property
    def ordered(self) -> tuple[Item, ...]:
        return tuple(i for i in self.items if i.state == "ordered")


def announce(conn: Connection, now_ms: int, actor: str, lead_ms: int = LEAD_MS) -> Run:
    """Look at every prepaid account and tell those who would be cut when, and what to pay."""
    made = {"order_id": commanding.new_id(now_ms), "state": "announced", "announced_ms": now_ms, "due_ms": now_ms + lead_ms, "actor": actor}
    number = conn.execute(insert(disconnect_run).values(made).returning(disconnect_run.c.run_no)).scalar_one()
    for account in all_accounts(conn):
        _look(conn, number, account, now_ms, now_ms + lead_ms)
    record(conn, now_ms, actor, "disconnect.announced", f"run:{number}")
    return run(conn, number)


def _look(conn: Connection, number: int, account: Account, now_ms: int, due_ms: int) -> None:
    policy, seen = rules_at(conn, account, now_ms), balance(conn, account.account_no)
    if account.closed_at_ms is not None or not account.is_prepaid or not seen.known or seen.balance_nano > policy.zero_nano:
        return
    reason = left_out(conn, account, policy, seen, now_ms)
    conn.execute(insert(disconnect_item).values(
        run_no=number, account_no=account.account_no, meter_no=account.meter_no, balance_nano=seen.balance_nano,
        state="left_out" if reason else "announced", reason=reason,
    ))  # fmt: skip
    if not reason:
        params = (("a", str(_to_pay_nano(policy, seen))), ("d", str(due_ms)))
        outgoing.put(conn, account.account_no, "CUT_SOON", f"run {number}", now_ms, params)


def _to_pay_nano(policy: Policy, seen: BalanceView) -> int:
    return max(policy.restore.min_balance_nano, policy.zero_nano + 1) - seen.balance_nano


def left_out(conn: Connection, account: Account, policy: Policy, seen: BalanceView, now_ms: int) -> str:
    """Why an account at zero is not cut by a run; '' where nothing speaks against it."""
    mirror = load(conn, account.account_no, account.account_epoch)
    calendar = Calendar(policy.protected, zone_of(account.zone))
    flags = {rule.flag for rule in policy.protected.flags}
    holds = {*account.policy.holds, *protections_of(conn, account.account_no, account.account_epoch, now_ms)}
    reasons = (
        ("other_option", policy.zero_action is not ZeroAction.DISCONNECT),
        ("managed", is_managed(conn, account.account_no)),
        ("hold", bool(holds_against_cut(tuple(holds))) or bool(flags & holds)),
        ("protected_time", bool(calendar.reason(now_ms, now_ms))),
        ("grace", _in_grace(conn, account, policy, mirror.state, now_ms)),
        ("on_its_way", seen.pending_nano > 0),
        ("not_known", mirror.stopped or now_ms - seen.as_of_ms > STALE_MS),
        ("switch", seen.supply is not SupplyState.ON),
    )
    return next((name for name, holds in reasons if holds), "")


def _in_grace(conn: Connection, account: Account, policy: Policy, state: LedgerState, now_ms: int) -> bool:
    emergency = policy.emergency.limit_nano > owed(state, Pool.EMERGENCY)
    converted = state.converted_ms is not None and now_ms - state.converted_ms < policy.convert_grace_days * MS_PER_DAY
    config = account_config(account)
    rule = next((o for o in policy.overdraft if (not o.load_classes or config.load_class in o.load_classes)
                 and (o.up_to_w is None or 0 < config.contract_w <= o.up_to_w)), None)  # fmt: skip
    return emergency or converted or (rule is not None and _overdrawn_within(conn, account, policy, rule, state, now_ms))


def _overdrawn_within(conn: Connection, account: Account, policy: Policy, rule: Overdraft, state: LedgerState, now_ms: int) -> bool:
    in_money = rule.money_nano is None or state.balance_nano > policy.zero_nano - rule.money_nano
    return in_money and (rule.days is None or now_ms - _zero_since_ms(conn, account, policy) < rule.days * MS_PER_DAY)


def _zero_since_ms(conn: Connection, account: Account, policy: Policy) -> int:
    """Since when the mirrored journal has been at zero or below."""
    j = journal_entry.c
    mine = (j.shard == SHARD, j.account_no == account.account_no, j.epoch == account.account_epoch, j.verified)
    above = conn.execute(select(j.seq).where(*mine, j.balance_nano > policy.zero_nano).order_by(j.seq.desc()).limit(1)).scalar_one_or_none()
    first = conn.execute(select(j.at_ms).where(*mine, j.seq > (above or 0)).order_by(j.seq).limit(1)).scalar_one_or_none()
    return int(first) if first is not None else account.opened_at_ms


# ---- the order ----------------------------------------------------------------------------------------------------


def order(conn: Connection, signer: Signer, run_no: int, now_ms: int) -> Run:
    """After the notice: one order for the group. Again, nothing more happens. Raises RefusedCommand (notice_runs, unknown_run)."""
    conn.execute(select(disconnect_run.c.run_no).where(disconnect_run.c.run_no == run_no).with_for_update(key_share=True))
    found = run(conn, run_no)
    if found.state == "ordered":
        return found
    if now_ms < found.due_ms:
        minutes = (found.due_ms - now_ms) // 60_000 + 1
        raise RefusedCommand(RunReason.NOTICE_RUNS, f"run {run_no}: its notice runs for another {minutes} min")
    hold(conn, *(item.account_no for item in found.items))  # all of them before the first order, which others wait for
    for item in found.items:
        if item.state == "announced":
            _order_one(conn, signer, found, item, now_ms)
    conn.execute(update(disconnect_run).where(disconnect_run.c.run_no == run_no).values(state="ordered", ordered_ms=now_ms))
    record(conn, now_ms, ACTOR, "disconnect.ordered", f"run:{run_no}", f"{len(run(conn, run_no).ordered)} of {len(found.items)}")
    return run(conn, run_no)


def _order_one(conn: Connection, signer: Signer, found: Run, item: Item, now_ms: int) -> None:
    account = held(conn, item.account_no)  # who pays in this moment has paid
    seen, policy = balance(conn, item.account_no), rules_at(conn, account, now_ms)
    is_paid = seen.balance_nano > policy.zero_nano
    reason = "paid" if is_paid else left_out(conn, account, policy, seen, now_ms)
    values: dict[str, Any] = {"state": "left_out", "reason": reason, "balance_nano": seen.balance_nano}
    if not reason:
        request = CommandRequest(account.meter_no, CommandType.SWITCH_OPEN, ACTOR, f"{NONPAYMENT}, run {found.run_no}",
                                 f"run:{found.run_no}:{item.account_no}", order_id=found.order_id)  # fmt: skip
        try:
            values |= {"state": "ordered", "cmd_id": commanding.issue(conn, signer, request, now_ms).cmd_id}
        except RefusedCommand as refused:  # one home whose order is refused keeps no other one waiting
            values |= {"reason": str(refused.reason)}
    mine = (disconnect_item.c.run_no == found.run_no, disconnect_item.c.account_no == item.account_no)
    conn.execute(update(disconnect_item).where(*mine).values(values))


def order_due(db: Database, signer: Signer, now_ms: int) -> None:
    """The worker's part: order the runs whose notice is over."""
    r = disconnect_run.c
    due = select(r.run_no).where(r.state == "announced", r.due_ms <= now_ms)
    with db.read() as conn:
        numbers = list(conn.execute(due).scalars())
    for number in numbers:
        with db.write() as conn:
            order(conn, signer, number, now_ms)


def run(conn: Connection, run_no: int) -> Run:
    """Raises RefusedCommand (unknown_run)."""
    row = conn.execute(select(disconnect_run).where(disconnect_run.c.run_no == run_no)).one_or_none()
    if row is None:
        raise RefusedCommand(RunReason.UNKNOWN_RUN, f"there is no disconnect run {run_no}")
    i = disconnect_item.c
    items = conn.execute(select(disconnect_item).where(i.run_no == run_no).order_by(i.account_no))
    return Run(row.run_no, bytes(row.order_id), row.state, row.announced_ms, row.due_ms, row.ordered_ms, tuple(_item(r) for r in items))


def _item(r: Row[Any]) -> Item:
    return Item(r.account_no, r.meter_no, r.balance_nano, r.state, r.reason, bytes(r.cmd_id) if r.cmd_id else None)
