"""One meter of a sweep: the right house, the switch as it is, what the register moved, what it costs.

* A serial that is not the bound one: an event, nothing charged, nothing switched (safety.md 4).
* A switch state nobody ordered is an event; we never fight a local breaker, one resync at most (prepayment.md T21).
* Energy behind an open switch is an event, and charged like any other.
"""

from __future__ import annotations

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import actions
from gridtally_edge.prepay.book import Book
from gridtally_edge.prepay.charging import Verdict, judge, postings_of
from gridtally_edge.prepay.decide import OffReason
from gridtally_edge.prepay.events import MeterRead
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.notices import show_on_meter, watch_balance
from gridtally_edge.prepay.rows import ActionRow, SwitchRow
from gridtally_edge.prepay.turn import Turn
from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.tariff.charge import energy_charge, fixed_charge
from gridtally_shared.tariff.versions import local_day

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
        charge_register(turn, account, read)
        charge_days(turn, account)
        watch_balance(turn, account)
        show_on_meter(turn, account)
    return _take_switch(turn, row, read)


def charge_register(turn: Turn, account: AccountConfig, read: MeterRead) -> None:
    """Open the account, charge the movement, or hold."""
    book = turn.book(account)
    if book.state.meter_no not in (0, account.meter_no):
        book.row.held = "other_meter"
        return
    last_good_ms = max(book.state.register_at_ms, turn.switch(account.meter_no).register_ms)
    judgement = judge(book.state, last_good_ms, book.row.held, book.row.held_wh, read)
    if judgement.verdict in (Verdict.WENT_BACK, Verdict.JUMPED):
        _hold(turn, account, book, judgement.verdict, judgement.register_wh)
        return
    if judgement.verdict is Verdict.IGNORE:
        return
    if judgement.verdict is Verdict.OPEN:
        _open(turn, account, book, judgement.register_wh, read.at_ms)
    elif account.tariff_id in turn.plan.tariffs:
        _charge(turn, account, book, last_good_ms, judgement.register_wh, read.at_ms)
    else:
        return
    turn.switch(account.meter_no).register_ms = read.at_ms
    book.row.held, book.row.held_wh = "", None


def charge_days(turn: Turn, account: AccountConfig) -> None:
    """The daily charge, once for each local day that began. Waits while the clock is not believed."""
    book, tariffs, zone = turn.book(account), turn.plan.tariffs.get(account.tariff_id), zone_of(account.zone)
    charged, opened = book.state.charged_day, book.state.opened_day
    if tariffs is None or zone is None or charged is None or opened is None or not tariffs.charges_days:
        return
    if turn.clock.state is ClockState.UNTRUSTED:
        return
    for span in tariffs.day_spans(charged, local_day(turn.now_ms, zone), zone):
        charge = fixed_charge(span.tariff, span.start - opened, span.end - opened)
        book.add(
            Kind.FIXED, turn.stamp(), postings_of(charge, Pool.FIXED),
            meter_no=account.meter_no, tariff_version=span.tariff.version, day_after=span.end,
        )  # fmt: skip


def _open(turn: Turn, account: AccountConfig, book: Book, register_wh: int, at_ms: int) -> None:
    zone = zone_of(account.zone)
    day = local_day(at_ms, zone) if zone else 0
    book.add(
        Kind.OPEN, turn.stamp(at_ms), meter_no=account.meter_no,
        register_before_wh=register_wh, register_after_wh=register_wh, day_after=day,
    )  # fmt: skip


def _charge(turn: Turn, account: AccountConfig, book: Book, from_ms: int, register_wh: int, at_ms: int) -> None:
    tariffs, charged_wh, opened_wh = turn.plan.tariffs[account.tariff_id], book.state.register_wh, book.state.opened_wh
    if charged_wh is None or opened_wh is None:
        return
    for span in tariffs.energy_spans(charged_wh, from_ms, register_wh, at_ms):
        charge = energy_charge(span.tariff, span.start - opened_wh, span.end - opened_wh)
        book.add(
            Kind.ENERGY, turn.stamp(at_ms), postings_of(charge, Pool.ENERGY), meter_no=account.meter_no,
            register_before_wh=span.start, register_after_wh=span.end, tariff_version=span.tariff.version,
        )  # fmt: skip


def _hold(turn: Turn, account: AccountConfig, book: Book, verdict: Verdict, register_wh: int) -> None:
    if book.row.held == verdict.value:
        return
    book.row.held, book.row.held_wh = verdict.value, register_wh
    name = "register_went_back" if verdict is Verdict.WENT_BACK else "register_jumped"
    turn.report(account.meter_no, name, f"charged_to_wh={book.state.register_wh} read_wh={register_wh}")


def _wrong_house(turn: Turn, row: SwitchRow, read: MeterRead, bound: str) -> None:
    if row.serial != read.serial:
        turn.report(read.meter_no, "serial_mismatch", f"serial={read.serial} expected={bound}")
    row.serial, row.serial_ms = read.serial, read.at_ms


def _take_switch(turn: Turn, row: SwitchRow, read: MeterRead) -> ActionRow | None:
    if read.at_ms < row.state_ms:
        return None
    row.power_w = read.power_w
    if read.switch is SwitchState.UNKNOWN:
        return None
    before, row.state, row.state_ms = SwitchState(row.state), read.switch.value, read.at_ms
    _watch_use(turn, row, read, before)
    action = actions.open_action(turn, read.meter_no)
    if action is not None:
        return action if action.state == "unresolved" and read.at_ms >= action.unresolved_ms else None
    _watch_orders(turn, row, read, before)
    return None


def _watch_use(turn: Turn, row: SwitchRow, read: MeterRead, before: SwitchState) -> None:
    if read.switch is not SwitchState.OPEN or read.register_wh is None:
        row.open_wh, row.use_reported = None, 0
        return
    if before is not SwitchState.OPEN or row.open_wh is None:
        row.open_wh = read.register_wh
    if read.register_wh - row.open_wh >= USE_WHILE_OPEN_WH and not row.use_reported:
        row.use_reported = 1
        turn.report(read.meter_no, "use_while_open", f"wh={read.register_wh - row.open_wh}")


def _watch_orders(turn: Turn, row: SwitchRow, read: MeterRead, before: SwitchState) -> None:
    """A state that nobody ordered, or one that was ordered and came late."""
    if read.switch is SwitchState.OPEN and row.off_reason == OffReason.NONE.value:
        late = actions.late_cut(turn, read.meter_no)
        row.off_reason, row.off_since_ms = late.value, read.at_ms
        if late is OffReason.UNORDERED:
            turn.report(read.meter_no, "switch_unordered", f"open, was {before.name.lower()}")
        else:
            row.stuck_until_ms = 0
    elif read.switch is SwitchState.CLOSED and row.off_reason != OffReason.NONE.value:
        was_ours = row.off_reason != OffReason.UNORDERED.value
        row.resyncs += int(row.off_reason == OffReason.BALANCE.value)
        row.off_reason, row.off_since_ms = OffReason.NONE.value, 0
        if was_ours:
            turn.report(read.meter_no, "switch_unordered", f"closed, was {before.name.lower()}")
