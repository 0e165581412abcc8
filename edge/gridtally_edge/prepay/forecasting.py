"""Time left of each account here: the load history fed from charged readings, the forecast kept beside the account.

* The history takes each hour that is over. The forecast is made anew with each hour, after a credit, and with each reading while
  the account is near its end; at most `MOST_A_TURN` in one turn, the others wait for the next.
* Near its end: a low level of the policy is crossed (money or share of the last top-up: the funds are no longer IN_CREDIT), or the
  cautious value is below its longest low level in hours (48 h where it names none). Then the meter is read each recording
  interval whatever its poll plan says (C3-FR7), and each reading is shown on it and told to the cloud (C3-A1.2).
* What is made is told to the cloud while there is a link; a forecast that is old by then is worth nothing, so none is queued.
* Nothing here moves money or a switch, and the journal never depends on it. What goes wrong in it is said in the row's
  `fault`, and no number is told then; only a store that fails ends the event, as it does everywhere.

Source: prepayment.md 6.2.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

from gridtally_edge.prepay.charge_store import Priced, stored_running
from gridtally_edge.prepay.forecast_rows import ForecastRow
from gridtally_edge.prepay.rows import some
from gridtally_edge.prepay.rules import policy_of, standing_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, EntryKind, Lane
from gridtally_shared.contract.prepay_messages import AccountMode, TimeLeftTold
from gridtally_shared.errors import ContractError
from gridtally_shared.forecast.history import LoadHistory, history_from, history_text
from gridtally_shared.forecast.hours import Mark, Stretch, read
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.prepay.lasting import debits_of, ends_soon, lasts, with_hours
from gridtally_shared.prepay.regions import Funds
from gridtally_shared.records import changed

MOST_A_TURN = 40


def follow(turn: Turn, account: AccountConfig) -> None:
    """Take in what was charged, and say anew how long the balance lasts where that is due."""
    price, state = turn.plan.priced.get(account.account_no), turn.book(account).state
    if price is None or state.register_wh is None:
        return
    row = turn.forecast(account) or _begun(turn.db, account)
    read_ms = max(state.register_at_ms, turn.switch(account.meter_no).register_ms)
    is_new = row.read_ms != read_ms or row.balance_nano != state.balance_nano
    if is_new or (row.due and turn.forecasts < MOST_A_TURN):
        near = is_near(turn, account)
        turn.keep_forecast(_guarded(row, lambda: _made(turn, account, price, _taken_in(price, state, row, read_ms, near))))


def _begun(db: sqlite3.Connection, account: AccountConfig) -> ForecastRow:
    """A new account, or a new epoch of one whose load is known."""
    before = some(db, ForecastRow, "WHERE account_no = ? ORDER BY epoch DESC LIMIT 1", account.account_no)
    return ForecastRow(account.account_no, account.account_epoch, before[0].history if before else "")


def _guarded(row: ForecastRow, work: Callable[[], ForecastRow]) -> ForecastRow:
    """Money goes on whatever happens in a forecast, so this catches everything."""
    try:
        return work()
    except sqlite3.Error:
        raise
    except Exception as error:
        history = "" if isinstance(error, ContractError) else row.history
        return replace(row, history=history, fault=f"{type(error).__name__}: {error}"[:200])


def _taken_in(price: Priced, state: LedgerState, row: ForecastRow, read_ms: int, near: bool) -> ForecastRow:
    """The row with the newest good reading in its history; one without use writes nothing in the journal, but counts here."""
    mark = Mark(row.read_ms, row.register_wh, row.hour_wh) if row.read_ms else None
    mark, stretches = read(mark, read_ms, state.register_wh or 0, price.plan.zone)
    is_moved_by_money = row.read_ms == mark.at_ms or state.balance_nano > row.balance_nano
    return changed(
        row, read_ms=mark.at_ms, register_wh=mark.register_wh, hour_wh=mark.hour_wh, balance_nano=state.balance_nano, fault="",
        due=int(row.due or bool(stretches) or is_moved_by_money or near),
        history=_history_after(price, row.history, stretches) if stretches or not row.history else row.history,
    )  # fmt: skip


def _history_after(price: Priced, text: str, stretches: tuple[Stretch, ...]) -> str:
    history = history_from(text) if text else LoadHistory()
    return history_text(with_hours(history, price.plan.zone, stretches))


def is_near(turn: Turn, account: AccountConfig) -> bool:
    """Whether the last money is so near that every recording interval counts."""
    return standing_of(turn.book(account)).regions.funds is not Funds.IN_CREDIT or _ends_soon(turn, account)


def mark_near(turn: Turn, account: AccountConfig) -> None:
    """Whether its meter is one of those that are read each interval. An account that pays later has no end."""
    if account.mode == AccountMode.PREPAID and is_near(turn, account):
        turn.near.add(account.meter_no)
    else:
        turn.near.discard(account.meter_no)


def mark_all(turn: Turn) -> None:
    """After a start nothing of it is known."""
    for account in turn.plan.accounts.values():
        mark_near(turn, account)


def _ends_soon(turn: Turn, account: AccountConfig) -> bool:
    row = turn.forecast(account)
    if row is None or row.cautious_ms is None:
        return False
    return ends_soon(row.cautious_ms, policy_of(turn, account).policy, turn.now_ms)


def _made(turn: Turn, account: AccountConfig, price: Priced, row: ForecastRow) -> ForecastRow:
    if not row.due or turn.forecasts >= MOST_A_TURN:
        return row
    turn.forecasts += 1
    running = turn.running.get((row.account_no, row.epoch)) or stored_running(turn.db, row.account_no, row.epoch)
    left_nano = owed(turn.book(account).state, Pool.DEBT_TIME)
    debits = debits_of(policy_of(turn, account).policy, left_nano) if left_nano else ()
    left = lasts(price.plan, running, row.read_ms, turn.book(account).state.balance_nano, history_from(row.history), debits)
    made = changed(
        row, due=0, as_of_ms=left.as_of_ms, central_ms=left.central_ms, cautious_ms=left.cautious_ms, basis=left.basis.value
    )  # fmt: skip
    _tell(turn, made)
    return made


def _tell(turn: Turn, made: ForecastRow) -> None:
    """Also that nothing can be told yet: the balance then stands as of this reading all the same."""
    if turn.link.online:
        told = TimeLeftTold(made.account_no, made.epoch, made.as_of_ms, made.balance_nano, made.central_ms, made.cautious_ms, made.basis)
        turn.outbox.append(EntryKind.TIME_LEFT, told, Lane.URGENT, turn.now_ms)
