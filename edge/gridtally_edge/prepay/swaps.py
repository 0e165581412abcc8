"""Another meter behind an account: the old register is closed, the new one begins, the journal goes on (prepayment.md 5.8, T29).

* The configuration names the new meter and, from the work order, where the old register ended and the new one began, and when.
  The old meter's last use is charged up to there; the credit stays where it is, the supply is not touched.
* Without a closing value the last charged one stands, and without an opening value the first reading of the new meter; the event
  then says that the values are estimated, and a person looks. So does a closing value that this register can not have reached since:
  it is of another meter, which came and went while this box heard nothing. One that rolled over is followed where its width is known.
* A new epoch (another edge) opens at the register up to which the old one charged, as the cloud's mirror has it: what was used
  since is charged once, here, at the lowest rate of that time, when our clock is believed. The event asks a person to look at it.
* The slabs of the month do not begin again with it: the configuration carries how far the open cycle was charged, and the OPEN entry
  says what of it was taken over.
"""

from __future__ import annotations

from dataclasses import replace

from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.charge_store import Priced
from gridtally_edge.prepay.charges import charge_gap, charge_use
from gridtally_edge.prepay.charging import unwrapped
from gridtally_edge.prepay.events import MeterRead
from gridtally_edge.prepay.modes import is_charged
from gridtally_edge.prepay.switching import UNUSABLE
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.contract.prepay_messages import AccountMode
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.register import possible_wh
from gridtally_shared.prepay.facts import FIRST_EPOCH
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.carried import taken_over
from gridtally_shared.tariff.running import Running


def is_bound(turn: Turn, account: AccountConfig, book: Book, read: MeterRead) -> bool:
    """Whether the journal belongs to this meter; binds it where the configuration named a new one."""
    if book.state.meter_no in (0, account.meter_no):
        return True
    if read.register_wh is None or read.register_wh < 0 or read.quality & UNUSABLE:
        return False
    at_ms = _fitted_ms(account, book, read)
    closed = _close(turn, account, book, at_ms)
    opening_wh = read.register_wh if account.opening_wh is None else account.opening_wh
    book.add(
        Kind.METER, turn.stamp(at_ms), meter_no=account.meter_no,
        register_before_wh=book.state.register_wh, register_after_wh=opening_wh,
    )  # fmt: skip
    book.row.held, book.row.held_wh = "", None
    estimated = not closed or account.opening_wh is None
    values = f"closing_wh={book.state.carried_wh} opening_wh={opening_wh} estimated={int(estimated)}"
    turn.report(account.meter_no, "meter_swapped", f"account={account.account_no} {values}")
    return True


def _fitted_ms(account: AccountConfig, book: Book, read: MeterRead) -> int:
    """When the new meter began: as the configuration says, or, where its register moved further than it can have since, when the old one
    was last good. The work order came to the desk later than the meter to the wall."""
    told_ms = account.swapped_ms or read.at_ms
    moved_wh = (read.register_wh or 0) - (account.opening_wh or 0) if account.opening_wh is not None else 0
    return min(told_ms, book.state.register_at_ms or told_ms) if moved_wh > possible_wh(read.at_ms - told_ms) else told_ms


@dataclass(frozen=True, slots=True)
class Opening:
    """Where and when an account's journal begins. `days_ms`: up to when its days are no charge of this epoch."""

    register_wh: int
    at_ms: int
    days_ms: int


def opening_of(turn: Turn, account: AccountConfig, read_wh: int, read: MeterRead) -> Opening:
    """At the reading, or where an earlier edge left the register. The moment is that of the earlier edge also where its register is no
    beginning for this one: the days since then, and the open cycle, go on from there."""
    at_ms, days_ms = min(account.swapped_ms or read.at_ms, read.at_ms), _days_from(turn, account, read.at_ms)
    if account.opening_wh is None or account.opening_wh > unwrapped(account.opening_wh, read_wh, read.register_modulus_wh):
        return Opening(read_wh, at_ms, days_ms)
    return Opening(account.opening_wh, days_ms if account.account_epoch > FIRST_EPOCH else at_ms, days_ms)


def _days_from(turn: Turn, account: AccountConfig, read_ms: int) -> int:
    """A clock that is not believed may be days behind, and those would be charged when it is right again: then the moment the cloud signed
    stands, which knew the time. What waits for a clock (`bridge`) begins there too; what is charged provisionally begins by ours."""
    if turn.clock.state is not ClockState.UNTRUSTED:
        return min(account.swapped_ms or read_ms, read_ms)
    return account.swapped_ms or max(read_ms, turn.plan.config.issued_at_ms)


def carried_of(account: AccountConfig, price: Priced | None) -> Running | None:
    """The open cycle as the epoch before left it; None where there is none, or where it is priced otherwise here."""
    if not account.carried or account.mode != AccountMode.PREPAID or price is None:
        return None
    return taken_over(account.carried[0], price.plan, price.terms)


def is_gap(account: AccountConfig, book: Book) -> bool:
    """Whether nothing was charged yet since an earlier edge left the register here."""
    state = book.state
    untouched = (state.register_wh, state.carried_wh) == (state.opened_wh, 0)
    return account.account_epoch > FIRST_EPOCH and untouched and account.opening_wh == state.opened_wh


def bridge(turn: Turn, account: AccountConfig, book: Book, register_wh: int, at_ms: int) -> bool:
    """Charge what was used under no edge. False while our clock is not believed, or no tariff is known: it waits."""
    if turn.clock.state is ClockState.UNTRUSTED or account.account_no not in turn.plan.priced:
        return False
    wh = charge_gap(turn, account, book.state.register_at_ms, register_wh, at_ms)
    if wh:
        turn.report(account.meter_no, "gap_charged", f"account={account.account_no} wh={wh} since_ms={account.swapped_ms} lowest rate")
    return True


def _close(turn: Turn, account: AccountConfig, book: Book, at_ms: int) -> bool:
    """The old meter's last use, to the value the work order names, behind a roll-over too. Whether that value was known and could be:
    by the moment the cloud signed, too, for our clock may be behind."""
    charged_wh, since_ms = book.state.register_wh, book.state.register_at_ms
    if account.closing_wh is None or charged_wh is None:
        return False
    closing_wh = unwrapped(charged_wh, account.closing_wh, turn.switch(book.state.meter_no).register_modulus_wh)
    if closing_wh - charged_wh > possible_wh(max(at_ms, turn.now_ms, account.swapped_ms) - since_ms):
        return False
    if closing_wh > charged_wh and is_charged(book) and account.account_no in turn.plan.priced:
        old = replace(account, meter_no=book.state.meter_no)
        charge_use(turn, old, since_ms, closing_wh, max(at_ms, since_ms))
    return closing_wh >= charged_wh
