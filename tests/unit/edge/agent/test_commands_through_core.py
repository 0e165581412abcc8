"""Signed commands all the way through the core: read on demand, switch, and what becomes of them when something is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.events import ClockObserved, ClockSource
from gridtally_shared import cbor
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import decode
from gridtally_shared.lifecycle import COMMAND_RULES, CommandState, Reason
from support.little_street import DCU, QUARTER_MS, LittleStreet, little_street


def command(street: LittleStreet, kind: m.CommandType, counter: int = 1, meter_no: int = 1, span_ms: int = 0) -> m.Command:
    now_ms = street.clock.now_ms()
    safety, priority, ttl_ms = COMMAND_RULES[kind]
    from_ms = now_ms // QUARTER_MS * QUARTER_MS - span_ms
    return m.Command(
        1, os.urandom(16), DCU, meter_no, kind, safety, priority, counter, now_ms, now_ms, now_ms + ttl_ms, os.urandom(16),
        from_ms if span_ms else 0, from_ms + span_ms if span_ms else 0, counter,
    )  # fmt: skip


def receipts(street: LittleStreet, cmd_id: bytes) -> list[m.CommandReceipt]:
    """In the order of their numbers."""
    entries = {(b.stream_id, b.lane, e.seq): e for b in street.batches() for e in b.entries}
    found = [decode(m.CommandReceipt, e.body) for _, e in sorted(entries.items()) if e.kind == m.EntryKind.COMMAND_RECEIPT]
    return [receipt for receipt in found if receipt.cmd_id == cmd_id]


def ready(street: LittleStreet) -> None:
    now_ms = street.clock.now_ms()
    street.handle(ClockObserved(ClockSource.VIRTUAL, now_ms, now_ms))
    street.connect()
    street.configure()
    street.next_quarter()


def done(street: LittleStreet, order: m.Command) -> m.CommandReceipt:
    street.down("command", order)
    last = receipts(street, order.cmd_id)[-1]
    assert (CommandState(last.state), last.reason) == (CommandState.DONE, "")
    return last


def test_a_momentary_read_carries_the_meters_values(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        values = decode(m.Readings, done(street, command(street, m.CommandType.READ_INSTANT)).result).values
        register = next(v.value for v in values if v.quantity == 1)
        assert register == street.houses["dlms/1"].snapshot().energy_import_wh


def test_a_profile_read_asks_exactly_the_range_of_the_command(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        order = command(street, m.CommandType.READ_INTERVALS, span_ms=8 * QUARTER_MS)
        blocks = decode(m.Intervals, done(street, order).result).blocks
        block = next(b for b in blocks if b.quantity == 11)
        assert (block.start_ms, block.n) == (order.from_ms, 8)


def test_the_switch_opens_and_closes_and_is_read_back(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        done(street, command(street, m.CommandType.SWITCH_OPEN, counter=1))
        assert street.houses["dlms/1"].switch() is SwitchState.OPEN
        state = done(street, command(street, m.CommandType.READ_SWITCH, counter=2)).result
        assert cbor.loads(state) == {0: SwitchState.OPEN.value}
        street.next_quarter()
        done(street, command(street, m.CommandType.SWITCH_CLOSE, counter=3))
        assert street.houses["dlms/1"].switch() is SwitchState.CLOSED


def test_the_mdm_hears_of_a_switched_supply_at_once_not_at_the_next_poll(tmp_path: Path) -> None:
    """The portal said "on" of a home that was cut until its meter was asked again."""
    with little_street(tmp_path) as street:
        ready(street)
        done(street, command(street, m.CommandType.SWITCH_OPEN))
        told = [s for s in street.entries(m.EntryKind.METER_STATUS, m.MeterStatus) if s.meter_no == 1]
        assert (told[-1].switch, told[-1].at_ms) == (SwitchState.OPEN.value, street.clock.now_ms() + 1)


@pytest.mark.parametrize(
    ("kind", "meter_no", "reason"),
    [
        (m.CommandType.READ_INTERVALS, 2, Reason.UNSUPPORTED),
        (m.CommandType.READ_INSTANT, 99, Reason.UNKNOWN_METER),
    ],
)
def test_what_can_not_be_read_is_answered_with_its_reason(
    tmp_path: Path, kind: m.CommandType, meter_no: int, reason: Reason
) -> None:
    with little_street(tmp_path, dlms=1, modbus=1) as street:
        ready(street)
        order = command(street, kind, meter_no=meter_no, span_ms=QUARTER_MS)
        street.down("command", order)
        assert receipts(street, order.cmd_id)[-1].reason == reason


def test_a_silent_meter_fails_the_read_and_says_so(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        street.mute.add("dlms/1")
        order = command(street, m.CommandType.READ_INSTANT)
        street.down("command", order)
        last = receipts(street, order.cmd_id)[-1]
        assert (CommandState(last.state), last.reason) == (CommandState.FAILED, Reason.NO_ANSWER)


def test_a_replayed_command_is_not_carried_out_twice(tmp_path: Path) -> None:
    with little_street(tmp_path) as street:
        ready(street)
        order = command(street, m.CommandType.READ_INSTANT)
        done(street, order)
        asked = len(street.asked)
        street.down("command", order)
        assert len(street.asked) == asked
