"""One switch action in one association: the right house, a fresh register, the act, the state read back.

* The serial is read first and must equal the bound one; nothing is sent to another meter (safety.md 4).
* A cut reads the register in the same association; without a good value not below what is charged it does not cut.
* The permit and the latest time are asked immediately before the order leaves: a payment in the meantime wins.
* Before a close the load side is asked, where the meter can tell it: nothing is closed onto a live one. After a cut it is asked
  too: a switch that says open with voltage behind it is welded, bypassed, or fed from the home.
* An order that may only arm is given to a meter whose control mode arms; any other one would close an empty home.
* An answer to the order is no proof. The state is read back, and only what the meter reports counts.
* A line that fails ends as an outcome, never as an exception, and says whether the order may have reached the meter.
"""

from __future__ import annotations

from dataclasses import replace

from gridtally_edge.drivers.model import Capability, MeterPort, Now, Reading, SwitchState
from gridtally_edge.prepay.events import RunSwitch, SwitchOutcome, SwitchResult
from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared.errors import GridtallyError, LinkDown, MeterFault, RefusedCommand
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import ENERGY_IMPORT
from gridtally_shared.records import dataclass
from gridtally_shared.supply_test import LIVE_MV

READ_BACKS = 3
UNUSABLE = int(Quality.MISSING | Quality.COMM_ERROR | Quality.METER_INVALID | Quality.ESTIMATED)
REACHED: dict[bool, frozenset[SwitchState]] = {
    True: frozenset({SwitchState.CLOSED, SwitchState.ARMED}),
    False: frozenset({SwitchState.OPEN}),
}


@dataclass(slots=True)
class _Seen:
    """Grows while the conversation goes on, so that a failure keeps what was seen until then."""

    outcome: SwitchOutcome

    def note(self, **changes: object) -> None:
        self.outcome = replace(self.outcome, **changes)  # type: ignore[arg-type]


def switch_conversation(port: MeterPort, now: Now, order: RunSwitch) -> Conversation[SwitchOutcome]:
    """Carry out `order` on the meter behind `port`. Never raises an error of our tree: it returns the outcome."""
    seen = _Seen(SwitchOutcome(SwitchResult.NO_ANSWER, "", SwitchState.UNKNOWN, SwitchState.UNKNOWN, False, now()))
    try:
        yield from port.open()
    except GridtallyError as error:
        return replace(seen.outcome, result=_result_of(error, False), fault=str(error), at_ms=now())
    try:
        yield from _act(port, now, order, seen)
    except GridtallyError as error:
        seen.note(result=_result_of(error, seen.outcome.sent), fault=str(error))
    yield from _farewell(port, seen)
    return replace(seen.outcome, at_ms=now())


def outcome_of_error(order: RunSwitch, error: Exception, at_ms: int) -> SwitchOutcome:
    """For a conversation that was thrown away (line closed, queue refused): nobody knows whether the order left."""
    unknown = SwitchState.UNKNOWN
    return SwitchOutcome(SwitchResult.UNKNOWN, "", unknown, unknown, True, at_ms, fault=f"{order.meter_no}: {error}")


def _act(port: MeterPort, now: Now, order: RunSwitch, seen: _Seen) -> Conversation[None]:
    seen.note(serial=(yield from port.read_serial()))
    if seen.outcome.serial != order.serial:
        return seen.note(result=SwitchResult.WRONG_SERIAL, fault=f"expected {order.serial}")
    before = yield from port.read_switch()
    seen.note(state_before=before, state_after=before)
    if before is SwitchState.NOT_FITTED:
        return seen.note(result=SwitchResult.NOT_FITTED)
    if before in REACHED[order.close]:
        return seen.note(result=SwitchResult.ALREADY)
    if order.min_register_wh is not None and not (yield from _register_is_good(port, now, order.min_register_wh, seen)):
        return seen.note(result=SwitchResult.NO_REGISTER)
    refusal = (yield from _why_not_close(port, order, seen)) if order.close else None
    if refusal is not None:
        return seen.note(result=refusal)
    if not order.permit.granted() or now() > order.latest_ms:
        return seen.note(result=SwitchResult.WITHDRAWN)
    yield from _order(port, order.close, seen)
    yield from _read_back(port, order.close, seen)
    if seen.outcome.result is SwitchResult.DONE and not order.close:
        yield from _look_behind(port, seen)
    return None


def _why_not_close(port: MeterPort, order: RunSwitch, seen: _Seen) -> Conversation[SwitchResult | None]:
    yield from _look_behind(port, seen)
    if (seen.outcome.load_side_mv or 0) > LIVE_MV:
        return SwitchResult.LIVE
    if order.arm and not (yield from port.arms_on_close()):
        return SwitchResult.PRESENCE
    return None


def _look_behind(port: MeterPort, seen: _Seen) -> Conversation[None]:
    """What can not be asked stays unknown; it never spoils what is known of the switch."""
    if Capability.LOAD_SIDE in port.capabilities:
        try:
            seen.note(load_side_mv=(yield from port.read_load_side()))
        except GridtallyError as error:
            seen.note(fault=str(error))


def _register_is_good(port: MeterPort, now: Now, min_register_wh: int, seen: _Seen) -> Conversation[bool]:
    reading = _register_of((yield from port.read_instant(now)))
    if reading is None:
        return False
    seen.note(register_wh=reading.value, register_at_ms=reading.at_ms)
    return reading.value >= min_register_wh


def _register_of(readings: tuple[Reading, ...]) -> Reading | None:
    good = (r for r in readings if r.quantity == ENERGY_IMPORT.code and not r.quality & UNUSABLE)
    return next(good, None)


def _order(port: MeterPort, close: bool, seen: _Seen) -> Conversation[None]:
    """From the first byte on the meter may act, so `sent` is noted before. A refusal is left to the read-back."""
    seen.note(sent=True, state_after=SwitchState.UNKNOWN)
    try:
        yield from (port.close_switch() if close else port.open_switch())
    except MeterFault as error:
        seen.note(fault=str(error))


def _read_back(port: MeterPort, close: bool, seen: _Seen) -> Conversation[None]:
    for _ in range(READ_BACKS):
        seen.note(state_after=(yield from port.read_switch()))
        if seen.outcome.state_after in REACHED[close]:
            return seen.note(result=SwitchResult.DONE)
    return seen.note(result=SwitchResult.STUCK)


def _result_of(error: GridtallyError, sent: bool) -> SwitchResult:
    if sent:
        return SwitchResult.UNKNOWN
    kinds = {LinkDown: SwitchResult.NO_ANSWER, RefusedCommand: SwitchResult.NOT_FITTED}
    return next((result for kind, result in kinds.items() if isinstance(error, kind)), SwitchResult.METER_FAULT)


def _farewell(port: MeterPort, seen: _Seen) -> Conversation[None]:
    try:
        yield from port.close()
    except GridtallyError as error:
        seen.note(fault=seen.outcome.fault or f"closing: {error}")
