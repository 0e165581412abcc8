"""From prepaid to regular billing and back: at the end of a recording interval, with one reading for both (T2, T3, C3-FR28).

* The wanted mode is that of the account as the plan shows it: a signed configuration, or a signed order above it. It was asked for
  when the order was applied or the configuration was issued.
* The first reading at or after the end of that interval is charged in full and then closes the one way and opens the other, in one
  MODE entry. No switch moves. While our clock is not believed nothing changes.
* The meter has to take the mode first (mode_checks.py): until it answered, the change waits for the next reading.
* In regular billing nothing is charged here: the cloud bills the register.
"""

from __future__ import annotations

from gridtally_edge.prepay import mode_checks
from gridtally_edge.prepay.account_orders import order_of
from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.charging import unwrapped
from gridtally_edge.prepay.events import MeterRead
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.switching import UNUSABLE
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.ledger.conversion import boundary_ms, postings_of
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.standing_orders import MODE
from gridtally_shared.tariff.daybook import day_of


def is_charged(book: Book) -> bool:
    """Whether the account pays by its balance now, as its journal says."""
    return book.state.mode == AccountMode.PREPAID


def pass_by(turn: Turn, account: AccountConfig, book: Book, read: MeterRead) -> None:
    """A reading in regular billing: nothing is charged; it may be the one that begins prepayment."""
    usable = read.register_wh is not None and read.register_wh >= 0 and not read.quality & UNUSABLE
    if usable and read.register_wh is not None and read.at_ms >= book.state.register_at_ms:
        convert_if_due(turn, account, book, unwrapped(book.state.register_wh or 0, read.register_wh, read.register_modulus_wh), read.at_ms)


def convert_if_due(turn: Turn, account: AccountConfig, book: Book, register_wh: int, at_ms: int) -> None:
    """Change the way of paying where another one is wanted and this reading is at or after the end of the interval."""
    meter = turn.plan.meters[account.meter_no]
    if account.mode == book.state.mode or account.mode not in tuple(AccountMode) or turn.clock.state is ClockState.UNTRUSTED:
        return
    if at_ms < boundary_ms(_asked_ms(turn, account), meter.interval_s * 1000) or not mode_checks.is_taken(turn, account):
        return
    mode, zone = AccountMode(account.mode), zone_of(account.zone)
    book.add(
        Kind.MODE, turn.stamp(at_ms), postings_of(book.state, mode), meter_no=account.meter_no, mode=mode,
        register_before_wh=book.state.register_wh, register_after_wh=register_wh,
        day_after=day_of(at_ms - 1, zone) if zone and mode is AccountMode.PREPAID else 0,
    )  # fmt: skip
    mode_checks.changed(turn, account)
    turn.forget_running(account.account_no, account.account_epoch)
    turn.switch(account.meter_no).register_ms = at_ms
    turn.report(account.meter_no, "mode_changed", f"account={account.account_no} mode={mode.name.lower()} register_wh={register_wh}")


def _asked_ms(turn: Turn, account: AccountConfig) -> int:
    order = order_of(turn, account, MODE)
    return order.at_ms if order is not None else turn.plan.config.issued_at_ms
