"""One meter of a sweep: the right house, the switch as it is, what the register moved, what it costs.

* A serial that is not the bound one: an event, nothing charged, nothing switched (safety.md 4).
* A switch state nobody ordered is an event; we never fight a local breaker, one resync at most (prepayment.md T21).
* Energy behind an open switch is an event, and charged like any other.
"""

from __future__ import annotations

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import actions, limiter, limiting, retelling, schedule_money, witness
from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.charge_store import store_running
from gridtally_edge.prepay.charges import charge_days, charge_use, collect_debt
from gridtally_edge.prepay.charging import Verdict, judge
from gridtally_edge.prepay.clocktrust import STEP_MS
from gridtally_edge.prepay.events import MeterRead
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.modes import convert_if_due, is_charged, pass_by
from gridtally_edge.prepay.notices import show_on_meter
from gridtally_edge.prepay.rows import ActionRow, SwitchRow
from gridtally_edge.prepay.swaps import Opening, bridge, carried_of, is_bound, is_gap, opening_of
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.ledger.charges import opening_detail
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.prepay.facts import OffReason
from gridtally_shared.tariff.daybook import day_of

USE_WHILE_OPEN_WH = 5


def take_reading(turn: Turn, read: MeterRead) -> ActionRow | None:
    """Take in one reading; an unresolved action that this reading may resolve is given back."""
    meter = turn.plan.meters.get(read.meter_no)
    if meter is None or meter.commodity != "electricity":
        return None
    row = turn.switch(read.meter_no)
    if read.serial != meter.serial:
        _wrong_house(turn, row, read, meter.serial)
        return None
    row.serial, row.serial_ms, row.register_modulus_wh = read.serial, read.at_ms, read.register_modulus_wh
    account = turn.plan.by_meter.get(read.meter_no)
    if account is not None:
        charge_days(turn, account)
        charge_supply(turn, account, read)
        collect_debt(turn, account)
        limiting.sample(turn, account, read)
        show_on_meter(turn, account)
    return _take_switch(turn, row, read)


def charge_supply(turn: Turn, account: AccountConfig, read: MeterRead) -> None:
    """Charge the register, and let an event that is held there pay for its part."""
    before, since_ms = turn.book(account).state, turn.switch(account.meter_no).register_ms
    charge_register(turn, account, read)
    schedule_money.cover(turn, account, before, since_ms)


def charge_register(turn: Turn, account: AccountConfig, read: MeterRead) -> None:
    """Open the account, charge the movement, or hold."""
    book = turn.book(account)
    if not is_bound(turn, account, book, read):
        book.row.held = "other_meter"
        return
    if book.state.opened_wh is not None and not is_charged(book):
        pass_by(turn, account, book, read)
        return
    last_good_ms = _last_good_ms(turn, account, book)
    believed = turn.clock.state is not ClockState.UNTRUSTED
    judgement = judge(book.state, last_good_ms, book.row.held, book.row.held_wh, read, believed)
    if judgement.verdict in (Verdict.WENT_BACK, Verdict.JUMPED):
        _hold(turn, account, book, judgement.verdict, judgement.register_wh)
        return
    if judgement.verdict is Verdict.IGNORE:
        return
    if judgement.verdict is Verdict.CHARGE:
        witness.look(turn, account, book, judgement.register_wh, read.at_ms, last_good_ms)
    if judgement.verdict is Verdict.OPEN:
        _open(turn, account, book, opening_of(turn, account, judgement.register_wh, read))
        if book.state.register_wh != judgement.register_wh:
            charge_register(turn, account, read)
            return
    elif is_gap(account, book):
        if not bridge(turn, account, book, judgement.register_wh, read.at_ms):
            return
    elif account.account_no in turn.plan.priced:
        charge_use(turn, account, last_good_ms, judgement.register_wh, read.at_ms)
    else:
        return
    turn.switch(account.meter_no).register_ms = read.at_ms
    book.row.held, book.row.held_wh = "", None
    convert_if_due(turn, account, book, judgement.register_wh, read.at_ms)


def _last_good_ms(turn: Turn, account: AccountConfig, book: Book) -> int:
    """When the register was last good; a time still to come was told by a wrong clock, and then it is not known."""
    last_ms = max(book.state.register_at_ms, turn.switch(account.meter_no).register_ms)
    believed = turn.clock.state is not ClockState.UNTRUSTED
    return 0 if believed and last_ms > turn.now_ms + turn.clock.uncertainty_ms + STEP_MS else last_ms


def _open(turn: Turn, account: AccountConfig, book: Book, begin: Opening) -> None:
    """The day of the opening belongs to whoever had the supply at its midnight; what is taken over goes on with the day up to which it was
    charged. It begins as the configuration says; what an order changes comes with an entry of its own. The engine goes on where the epoch
    before left the supply: nothing is told twice."""
    signed = next(a for a in turn.plan.config.accounts if a.account_no == account.account_no)
    zone = zone_of(account.zone)
    running = carried_of(signed, turn.plan.priced.get(account.account_no))
    charged_ms = min(running.state.until_ms, begin.days_ms) if running else begin.days_ms
    day = day_of(charged_ms - 1, zone) if zone else 0
    book.add(
        Kind.OPEN, turn.stamp(begin.at_ms), meter_no=account.meter_no, register_before_wh=begin.register_wh,
        register_after_wh=begin.register_wh, day_after=day, mode=signed.mode, detail=opening_detail(running) if running else b"",
    )  # fmt: skip
    if not book.row.standing:
        book.row.standing = signed.standing
        retelling.begun(turn, account, book, begin.at_ms)
    if running is not None:
        store_running(turn.db, book.state, running)


def _hold(turn: Turn, account: AccountConfig, book: Book, verdict: Verdict, register_wh: int) -> None:
    """How fast it moved is known by a believed clock only: a jump seen by another one has no value to stay behind."""
    doubtful = verdict is Verdict.JUMPED and turn.clock.state is ClockState.UNTRUSTED
    held = (verdict.value, None if doubtful else register_wh)
    if book.row.held == verdict.value and (book.row.held_wh is not None or doubtful):
        return
    book.row.held, book.row.held_wh = held
    name = "register_went_back" if verdict is Verdict.WENT_BACK else "register_jumped"
    turn.report(account.meter_no, name, f"charged_to_wh={book.state.register_wh} read_wh={register_wh}")


def _wrong_house(turn: Turn, row: SwitchRow, read: MeterRead, bound: str) -> None:
    if row.serial != read.serial:
        turn.report(read.meter_no, "serial_mismatch", f"serial={read.serial} expected={bound}")
    row.serial, row.serial_ms = read.serial, read.at_ms


def _take_switch(turn: Turn, row: SwitchRow, read: MeterRead) -> ActionRow | None:
    if read.at_ms < row.state_ms:
        return None
    row.power_w, row.load_side_mv = read.power_w, read.load_side_mv
    if read.switch is SwitchState.UNKNOWN:
        return None
    before, row.state, row.state_ms = SwitchState(row.state), read.switch.value, read.at_ms
    _watch_use(turn, row, read, before)
    action = actions.open_action(turn, read.meter_no)
    if action is not None:
        return action if action.state == "unresolved" and read.at_ms >= action.unresolved_ms else None
    _watch_orders(turn, row, read, before)
    if read.switch is SwitchState.OPEN:
        actions.answers_again(turn, read.meter_no)
    return None


def _watch_use(turn: Turn, row: SwitchRow, read: MeterRead, before: SwitchState) -> None:
    if read.switch is not SwitchState.OPEN or read.register_wh is None:
        row.open_wh, row.use_reported = None, 0
        return
    if before is not SwitchState.OPEN or row.open_wh is None:
        row.open_wh = read.register_wh
    if read.register_wh - row.open_wh >= USE_WHILE_OPEN_WH and not row.use_reported:
        row.use_reported, row.fault = 1, "live"
        turn.report(read.meter_no, "use_while_open", f"wh={read.register_wh - row.open_wh}")


def _watch_orders(turn: Turn, row: SwitchRow, read: MeterRead, before: SwitchState) -> None:
    """A state that nobody ordered, or one that was ordered and came late."""
    if read.switch is SwitchState.OPEN and row.off_reason == OffReason.NONE.value:
        late = actions.late_cut(turn, read.meter_no)
        row.off_reason, row.off_since_ms = late.value, read.at_ms
        if late is OffReason.UNORDERED and not limiter.ask_why(turn, read.meter_no):
            turn.report(read.meter_no, "switch_unordered", f"open, was {before.name.lower()}")
        elif late is not OffReason.UNORDERED:
            row.stuck_until_ms = 0
    elif read.switch is SwitchState.CLOSED and row.off_reason != OffReason.NONE.value:
        was_ours = row.off_reason != OffReason.UNORDERED.value
        row.resyncs += int(row.off_reason == OffReason.BALANCE.value)
        row.off_reason, row.off_since_ms = OffReason.NONE.value, 0
        if was_ours:
            turn.report(read.meter_no, "switch_unordered", f"closed, was {before.name.lower()}")
