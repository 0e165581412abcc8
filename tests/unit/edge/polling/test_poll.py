"""One poll against simulated meters, byte by byte in memory: whole, wrong meter, cut off midway, nonsense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.poll import Fault, PollRequest, PollResult, poll
from gridtally_edge.protocols.conversation import GaveWay
from support.little_street import QUARTER_MS, START_MS, LittleStreet, converse, little_street

SPANS = (Span(START_MS - 4 * QUARTER_MS, START_MS),)
WHOLE = PollRequest("10000001", spans=SPANS, events_after_ms=0, clock=True)


def ask(street: LittleStreet, request: PollRequest, spoil: Callable[[bytes], bytes | None] = lambda d: d) -> PollResult:
    result = converse(poll(street.ports["dlms/1"], request, street.clock.now_ms), street.slaves["dlms/1"], spoil)
    assert isinstance(result, PollResult)
    return result


def test_a_whole_poll(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        result = ask(street, WHOLE)
        assert (result.fault, result.serial, result.switch) == (Fault.NONE, "10000001", SwitchState.CLOSED)
        profile = street.houses["dlms/1"].profile(START_MS - 3 * QUARTER_MS, START_MS)
        imported = [(r.at_ms + QUARTER_MS, r.value) for r in result.intervals if r.quantity == 11]
        assert imported == [(row.end_ms, row.import_wh) for row in profile]
        assert next(r.value for r in result.readings if r.quantity == 1) == street.houses["dlms/1"].snapshot().energy_import_wh
        assert result.answered_spans == SPANS
        assert result.events is not None
        assert abs(result.clock_offset_ms or 0) < 1000


def test_another_meter_at_this_address_gives_no_value(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        result = ask(street, PollRequest("99999999", spans=SPANS))
        assert result.fault is Fault.WRONG_METER
        assert result.serial == "10000001"
        assert "99999999 is bound" in result.trouble
        assert (result.readings, result.intervals, result.switch) == ((), (), None)


def answers_of_a_whole_poll(street: LittleStreet) -> int:
    seen: list[bytes] = []
    ask(street, WHOLE, lambda data: seen.append(data) or data)
    return len(seen)


def test_cut_off_after_any_answer_the_result_keeps_what_was_read(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        whole = ask(street, WHOLE)
        count = answers_of_a_whole_poll(street)
        kept = []
        for limit in range(count):
            left = [limit]

            def spoil(data: bytes, left: list[int] = left) -> bytes | None:
                left[0] -= 1
                return data if left[0] >= 0 else None

            result = ask(street, WHOLE, spoil)
            assert result.fault is Fault.SILENT or result.intervals == whole.intervals
            assert {r.quantity for r in result.readings} <= {r.quantity for r in whole.readings}
            assert result.intervals in ((), whole.intervals)
            assert bool(result.intervals) == bool(result.answered_spans)
            kept.append((bool(result.serial), bool(result.readings), bool(result.intervals)))
        assert kept == sorted(kept)
        assert kept[0] == (False, False, False)
        assert kept[-1] == (True, True, True)


def test_a_silent_meter(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        result = ask(street, WHOLE, lambda _: None)
        assert (result.fault, result.answered, result.trouble) == (Fault.SILENT, False, "no answer")


def test_a_poll_that_gave_way_to_a_command_is_made_up_for_and_does_not_count_against_the_meter(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        work = poll(street.ports["dlms/1"], WHOLE, street.clock.now_ms)
        next(work)
        try:
            while True:  # the farewell it still says
                work.throw(GaveWay("the switch was wanted"))
        except StopIteration as end:
            result = end.value
        assert result.fault is Fault.GAVE_WAY
        meter = street.core.street.meters["dlms/1"]
        before = meter.failures
        street.core.street.finished(meter, result)
        assert (meter.failures, meter.polled_ms) == (before, None)


def test_a_meter_without_profile_events_and_switch(tmp_path: Path) -> None:
    key = "modbus/1"
    with little_street(tmp_path, dlms=0, modbus=1) as street:
        result = converse(poll(street.ports[key], PollRequest("20000001", clock=True), street.clock.now_ms), street.slaves[key])
        assert (result.fault, result.serial) == (Fault.NONE, "20000001")
        assert (result.switch, result.intervals, result.events, result.clock_offset_ms) == (SwitchState.NOT_FITTED, (), None, None)
        assert next(r.value for r in result.readings if r.quantity == 1) == pytest.approx(
            street.houses[key].snapshot().energy_import_wh, abs=1
        )
