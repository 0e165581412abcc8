"""The core's part in meters that come and go while it runs: the registry's changes, with opening and closing registers.

* A change a person entered is journaled once, whenever it is first seen: an event for the meter that went with its closing
  registers, one for the meter that came with its opening ones; both as samples flagged SWAP, so that no difference is ever
  formed across them.
* Registers nobody read off are those the meter last gave (closing), or will first give (opening).
* A meter that has no number yet is told of under the concentrator's own, its serial in the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridtally_edge.core_events import Effect, MetersChanged, Moment
from gridtally_edge.drivers.model import Capability, Reading
from gridtally_edge.journal.readings import MeterUpdate
from gridtally_edge.polling.street import StreetMeter
from gridtally_edge.registry import MeterChange
from gridtally_shared.contract import messages as m
from gridtally_shared.events import BY_NAME as EVENTS
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, BY_NAME

if TYPE_CHECKING:
    from gridtally_edge.core import EdgeCore

ADDED, REMOVED = EVENTS["meter_added"].code, EVENTS["meter_removed"].code
COMES, GOES = frozenset({"add", "replace"}), frozenset({"remove", "replace"})


def meters_changed(core: EdgeCore, changed: MetersChanged, moment: Moment) -> tuple[Effect, ...]:
    effects = core.flush(moment)
    new = [change for change in changed.changes if not core.journal.change_is_known(change.change_id)]
    for change in new:
        if change.action in GOES:
            _close(core, change, moment)
    for key in changed.gone:
        core.street.remove(key)
    for on_line in changed.fitted:
        core.street.add(on_line)
    for change in new:
        if change.action in COMES:
            _open(core, change, moment)
    return effects + core.send(moment)


def _close(core: EdgeCore, change: MeterChange, moment: Moment) -> None:
    number = core.street.number_of(change.old_serial) or _number_at(core.street.meters.get(change.key))
    readings = _readings(change.closing, change.at_ms)
    text = _text(readings) if readings else f"last read {_text(core.journal.last_registers(number))}"
    event = m.Event(number, REMOVED, change.at_ms, f"key={change.key} serial={change.old_serial} {text}".strip())
    _record(core, f"{change.change_id} closed", number, readings, event, moment)
    if change.action == "remove":
        _record(core, change.change_id, 0, (), None, moment)


def _open(core: EdgeCore, change: MeterChange, moment: Moment) -> None:
    meter = core.street.meters.get(change.key)
    number = core.street.number_of(change.serial) or _number_at(meter)
    readings = _readings(change.opening, change.at_ms)
    event = m.Event(number, ADDED, change.at_ms, f"key={change.key} serial={change.serial} {_text(readings)}".strip())
    if meter is not None:
        meter.swapped_in = True
    _record(core, change.change_id, number, readings, event, moment)


def _record(
    core: EdgeCore, change_id: str, number: int, readings: tuple[Reading, ...], event: m.Event | None, moment: Moment
) -> None:
    if core.journal.change_is_known(change_id):
        return
    meter = core.street.by_number(number)
    profile = meter is not None and meter.on_line.can(Capability.LOAD_PROFILE)
    interval_ms = meter.interval_ms if meter is not None else 0
    closes = bool(number and readings and interval_ms)
    state = core.state_of(number)
    update = MeterUpdate(state, interval_ms, readings, forms_intervals=not profile)
    core.journal.record_change(change_id, (update,) if closes else (), (event,) if event else (), moment.now_ms)


def _number_at(meter: StreetMeter | None) -> int:
    return meter.meter_no if meter is not None else 0


def _readings(registers: tuple[tuple[str, int], ...], at_ms: int) -> tuple[Reading, ...]:
    return tuple(Reading(BY_NAME[name].code, at_ms, value, int(Quality.SWAP)) for name, value in registers)


def _text(readings: tuple[Reading, ...]) -> str:
    return " ".join(f"{BY_CODE[r.quantity].name}={r.value}" for r in readings)
