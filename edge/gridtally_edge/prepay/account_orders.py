"""What control instruments set for an account, and the account as it stands with them: the seam to those who act on it.

* Names: `hold:REASON`, `protect:REASON` (value 1 set, 0 lifted), `limit_w`, `unbalance_ma`, `mode` (an AccountMode).
* The way of paying of an order stands above that of the configuration.
* Holds and protections are added to `AccountConfig.holds`, where the cut tests look. What the configuration itself holds is
  lifted by a configuration only; but a safety or work hold, whoever set it, is lifted on site only (site.py): one that a
  configuration drops stays as an order here.
* An order ends at its time only by a clock that is believed; until then a protection protects (safety.md 5).

Source: prepayment.md 5.3; safety.md 1, 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gridtally_edge.prepay.plan import Plan
from gridtally_edge.prepay.rows import OrderRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, ClockState, DcuConfig
from gridtally_shared.instruments.details import LIFTED_ON_SITE

HOLD, PROTECT = "hold:", "protect:"
LIMIT_W, UNBALANCE_MA, MODE = "limit_w", "unbalance_ma", "mode"


def set_order(turn: Turn, account: AccountConfig, gseq: int, name: str, value: int, until_ms: int = 0) -> None:
    """Store an order; the plan of this turn shows it at once."""
    save(turn.db, OrderRow(account.account_no, account.account_epoch, name, value, until_ms, gseq, turn.now_ms))
    turn.plan = with_orders(turn, turn.plan)


def order_of(turn: Turn, account: AccountConfig, name: str) -> OrderRow | None:
    """The order of this name while it holds; None where there is none, or its time is over."""
    row = one(turn.db, OrderRow, account.account_no, account.account_epoch, name)
    return row if row is not None and _holds(turn, row) else None


def with_orders(turn: Turn, plan: Plan) -> Plan:
    """The plan with the holds of the orders in its accounts. The stored configuration stays as the cloud signed it."""
    held: dict[tuple[int, int], set[str]] = {}
    for row in some(turn.db, OrderRow, "WHERE value <> 0 AND (name LIKE 'hold:%' OR name LIKE 'protect:%')"):
        if _holds(turn, row):
            held.setdefault((row.account_no, row.epoch), set()).add(row.name.partition(":")[2])
    signed = {a.account_no: a for a in plan.config.accounts}
    lifted: dict[tuple[int, int], set[str]] = {}
    for row in some(turn.db, OrderRow, "WHERE value = 0 AND name LIKE 'hold:%'"):
        if row.name.removeprefix(HOLD) in LIFTED_ON_SITE:
            lifted.setdefault((row.account_no, row.epoch), set()).add(row.name.removeprefix(HOLD))
    modes = {(row.account_no, row.epoch): row.value for row in some(turn.db, OrderRow, "WHERE name = ?", MODE)}
    accounts = {
        no: _ordered(_without(a, lifted.get((no, a.account_epoch))), held.get((no, a.account_epoch), set()), modes)
        for no, a in signed.items()
    }  # fmt: skip
    if accounts == plan.accounts:
        return plan
    return replace(plan, accounts=accounts, by_meter={a.meter_no: a for a in accounts.values()})


def keep_site_holds(turn: Turn, before: DcuConfig, accounts: Mapping[int, AccountConfig]) -> None:
    """After another configuration: a safety or work hold it drops stays, one it brings holds again. `accounts`: as they stood."""
    signed = {a.account_no: frozenset(a.holds) for a in before.accounts}
    turn.plan = with_orders(turn, turn.plan)
    for account in turn.plan.config.accounts:
        stood, stands = accounts.get(account.account_no), turn.plan.accounts[account.account_no]
        dropped = frozenset(stood.holds) - frozenset(stands.holds) if stood is not None else frozenset()
        brought = frozenset(account.holds) - signed.get(account.account_no, frozenset())
        for reason in sorted((dropped | brought) & LIFTED_ON_SITE):
            set_order(turn, account, 0, HOLD + reason, 1)


def _without(account: AccountConfig, lifted: set[str] | None) -> AccountConfig:
    return replace(account, holds=tuple(h for h in account.holds if h not in lifted)) if lifted else account


def _ordered(account: AccountConfig, reasons: set[str], modes: dict[tuple[int, int], int]) -> AccountConfig:
    added = tuple(sorted(reasons - set(account.holds)))
    mode = modes.get((account.account_no, account.account_epoch), account.mode)
    return replace(account, holds=(*account.holds, *added), mode=mode) if added or mode != account.mode else account


def _holds(turn: Turn, row: OrderRow) -> bool:
    clock = turn.clock
    over = clock.state is not ClockState.UNTRUSTED and turn.now_ms - clock.uncertainty_ms > row.until_ms
    return not (row.until_ms and over)
