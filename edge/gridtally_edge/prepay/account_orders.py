"""What control instruments set for an account, and the account as it stands with them: the seam to those who act on it.

* Names: `hold:REASON`, `protect:REASON` (value 1 set, 0 lifted), `limit_w`, `unbalance_ma`, `mode` (an AccountMode). Each stands in an
  entry of the journal as well (ledger/standing_orders.py): a box that lost its rows with an old disk takes them from there.
* The way of paying of an order stands above that of the configuration.
* Holds and protections are added to `AccountConfig.holds`, where the cut tests look. What the configuration itself holds is
  lifted by a configuration only; but a safety or work hold, whoever set it, is lifted on site only (site.py): one that a
  configuration drops stays as an order here.
* An order ends at its time only by a clock that is believed; until then a protection protects (safety.md 5).

Source: prepayment.md 5.3, T27; safety.md 1, 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from gridtally_edge.prepay import meter_holds
from gridtally_edge.prepay.plan import Plan
from gridtally_edge.prepay.rows import OrderRow, one, save, some
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, ClockState, DcuConfig, InstrumentType
from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.details import LIFTED_ON_SITE, HoldOrder
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from
from gridtally_shared.ledger.evidence import detail
from gridtally_shared.ledger.standing_orders import HOLD, MODE, StandingOrder, Stands, evidence_with, said_by, standing, told


def set_order(turn: Turn, account: AccountConfig, order: StandingOrder) -> None:
    """Store an order; the plan of this turn shows it at once."""
    _store(turn, account, order)
    turn.plan = with_orders(turn, turn.plan)


def give(turn: Turn, account: AccountConfig, kind: InstrumentType, order: Stands, seen: str, cause: bytes = b"", **who: str) -> None:
    """An order that no instrument brought: it stands from here on, by an entry of its own. `who`: `by` and `reason` of the evidence."""
    evidence = detail(evidence_with(kind, order, seen, **who))
    turn.book(account).add(Kind.CONTROL, turn.stamp(), meter_no=account.meter_no, cause=cause, detail=evidence)
    set_order(turn, account, standing(kind, order))


def _store(turn: Turn, account: AccountConfig, order: StandingOrder) -> None:
    key = (account.account_no, account.account_epoch, order.name)
    save(turn.db, OrderRow(*key, order.value, order.until_ms, order.gseq, turn.now_ms))


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
    for a in signed.values():
        held.setdefault((a.account_no, a.account_epoch), set()).update(meter_holds.before_account(turn, a))
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
            give(turn, account, InstrumentType.HOLD, HoldOrder(reason), f"hold {reason} stays until it is lifted on site", reason=reason)


def retold(turn: Turn, account: AccountConfig, since_ms: int) -> None:
    """The journal was healed: what it says to stand stands. What was ordered here since `since_ms`, whose entries went aside, came
    later: it is written again, but for what instruments brought, which are applied again themselves."""
    key = (account.account_no, account.account_epoch)
    there = "SELECT body FROM journal WHERE account_no = ? AND epoch = ? AND kind = ? ORDER BY seq"
    aside = "SELECT body FROM journal_aside WHERE account_no = ? AND epoch = ? AND aside_ms >= ? ORDER BY seq"
    for order in told(_entries(turn, there, *key, int(Kind.CONTROL))).values():
        known = one(turn.db, OrderRow, *key, order.name)
        if known is None or (known.value, known.until_ms) != (order.value, order.until_ms):
            _store(turn, account, order)
    for entry in _entries(turn, aside, *key, since_ms):
        later = said_by(entry)
        if later is not None and not later.gseq:
            turn.book(account).add(Kind.CONTROL, turn.stamp(), meter_no=account.meter_no, cause=entry.cause, detail=entry.detail)
            _store(turn, account, later)
    turn.plan = with_orders(turn, turn.plan)


def _entries(turn: Turn, query: str, *values: int) -> Iterator[LedgerEntry]:
    """One that can not be read tells nothing."""
    for (body,) in turn.db.execute(query, values).fetchall():
        with suppress(ContractError):
            yield entry_from(body)


def left_at(turn: Turn, meter_no: int) -> tuple[OrderRow, ...]:
    """Safety and work holds that somebody set here at a meter whose account another one runs by now, and who may not know of them: they
    stand here until they are lifted here."""
    newest = "SELECT max(epoch) FROM account WHERE account.account_no = account_order.account_no"
    clause = f"WHERE value <> 0 AND name IN (?, ?) AND epoch = ({newest})"
    rows = some(turn.db, OrderRow, clause, *(HOLD + reason for reason in sorted(LIFTED_ON_SITE)))
    others = [row for row in rows if row.account_no not in turn.plan.accounts]
    return tuple(row for row in others if turn.book_of(row.account_no, row.epoch).state.meter_no == meter_no)


def site_holds_of(turn: Turn, account: AccountConfig) -> tuple[OrderRow, ...]:
    """The safety and work holds that stand in the journal of an account."""
    names = tuple(HOLD + reason for reason in sorted(LIFTED_ON_SITE))
    mine = "WHERE value <> 0 AND account_no = ? AND epoch = ? AND name IN (?, ?)"
    return tuple(some(turn.db, OrderRow, mine, account.account_no, account.account_epoch, *names))


def holds_at(turn: Turn, meter_no: int) -> tuple[str, ...]:
    """What holds at a meter, as far as this box knows."""
    account = turn.plan.by_meter.get(meter_no)
    if account is not None:
        return account.holds
    left = [row.name.removeprefix(HOLD) for row in left_at(turn, meter_no)]
    return tuple(dict.fromkeys([*left, *meter_holds.standing_at(turn, meter_no)]))


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
