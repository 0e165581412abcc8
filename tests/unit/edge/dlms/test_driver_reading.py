"""What an IS 15959 meter tells beside the poll's first needs: daily and billing rows, three phases, name plate, status word, logs read
only when they moved, quality at the source, and associations by purpose."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.drivers.is15959_config import Auth, Is15959WrapperSettings, Transport
from gridtally_edge.drivers.is15959_events import status_events
from gridtally_edge.drivers.is15959_plate import PLATE
from gridtally_edge.drivers.model import Capability, MeterEvent, Reading
from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.poll import PollRequest, poll
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.axdr import decode
from gridtally_edge.protocols.dlms.hdlc import encode_frame, frames_of
from gridtally_edge.simulators.dlms_access import MeterAccess, MeterKeys, Scheme
from gridtally_edge.simulators.dlms_slave import DlmsUnit, WrapperSlave
from gridtally_edge.simulators.house import Contactor, HouseMeter, HouseSettings
from gridtally_edge.simulators.house_checks import HouseFault
from gridtally_shared import meter_settings as ms
from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR, ManualClock
from gridtally_shared.errors import MeterFault, RefusedCommand
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, BY_NAME
from support.dlms_wire import PASSWORD, START_MS, Wire

QUARTER_MS = 900_000
MIDNIGHT_MS = START_MS // MS_PER_DAY * MS_PER_DAY - 330 * 60_000
SECRET = "0123456789ABCDEF"
KEY, AUTH_KEY = bytes(range(16)), bytes(range(0xD0, 0xE0))


class Setup:
    def __init__(self, access: MeterAccess | None = None, house: dict[str, object] | None = None, **settings: object) -> None:
        self.clock = ManualClock(START_MS)
        self.meter = HouseMeter(HouseSettings(**{"serial": "GT0017", "seed": 1, "history_days": 3, **(house or {})}), self.clock)
        self.wire = Wire(DlmsUnit(self.meter, 17, access=access))
        self.port = DlmsPort(Is15959Settings(17, **{"password": PASSWORD, **settings}))

    def open(self) -> Setup:
        self.wire.run(self.port.open())
        return self

    def events(self, after_ms: int) -> list[int]:
        return [event.code for event in self.wire.run(self.port.read_events(after_ms))]

    def exchanges(self, work) -> int:
        before = len(self.wire.requests)
        self.wire.run(work)
        return len(self.wire.requests) - before


def named(readings: tuple[Reading, ...], name: str) -> list[Reading]:
    return [r for r in readings if r.quantity == BY_NAME[name].code]


# ---- daily, billing, name plate, load side ------------------------------------------------------------------


def test_daily_rows_are_the_register_at_midnight() -> None:
    setup = Setup().open()
    rows = named(setup.wire.run(setup.port.read_daily(MIDNIGHT_MS - MS_PER_DAY, START_MS)), "energy_import_wh")
    assert [r.at_ms for r in rows] == [MIDNIGHT_MS - MS_PER_DAY, MIDNIGHT_MS]
    assert [r.value for r in rows] == [setup.meter.registers_at(r.at_ms)[0] for r in rows]


def test_the_end_of_a_daily_span_is_not_in_it() -> None:
    setup = Setup().open()
    assert setup.wire.run(setup.port.read_daily(MIDNIGHT_MS - 1, MIDNIGHT_MS)) == ()


def test_billing_rows_have_registers_rates_and_the_maximum_demand() -> None:
    setup = Setup(house={"history_days": 30}).open()
    rows = setup.wire.run(setup.port.read_billing(0, START_MS))
    (total,) = named(rows, "energy_import_wh")
    assert total.value == setup.meter.registers_at(total.at_ms)[0]
    assert [r.value for r in named(rows, "energy_import_rate1_wh")] == [total.value]
    month = [setup.meter.registers_at(t)[0] for t in range(total.at_ms - 22 * MS_PER_DAY, total.at_ms + 1, QUARTER_MS)]
    highest = max(4 * (b - a) for a, b in itertools.pairwise(month))
    assert abs(named(rows, "demand_max_w")[0].value - highest) <= 4


def test_the_name_plate_is_asked_in_one_exchange() -> None:
    setup = Setup().open()
    plate = setup.wire.run(setup.port.read_name_plate())
    assert plate == setup.meter.name_plate()
    assert setup.exchanges(setup.port.read_name_plate()) == 1


def test_a_name_plate_that_is_only_a_profile_is_found() -> None:
    setup = Setup().open()
    group = next(g for g in setup.wire.slave._units[1, 17].device.groups if hasattr(g, "_plain"))
    for target in PLATE[1:]:
        group._plain.pop(target, None)
    assert setup.wire.run(setup.port.read_name_plate()).model == "GT1"


@pytest.mark.parametrize(
    ("contactor", "is_open", "live"),
    [(Contactor.WORKS, False, True), (Contactor.WORKS, True, False), (Contactor.WELDED, True, True)],
    ids=["closed", "open", "welded"],
)
def test_the_voltage_behind_the_switch_tells_what_the_switch_did(contactor: Contactor, is_open: bool, live: bool) -> None:
    setup = Setup(house={"contactor": contactor}).open()
    if is_open:
        setup.wire.run(setup.port.open_switch())
    behind = setup.wire.run(setup.port.read_load_side())
    assert (behind > 200_000) is live
    assert live or behind == 0


def test_a_feed_from_behind_shows_at_an_open_switch() -> None:
    setup = Setup().open()
    setup.wire.run(setup.port.open_switch())
    setup.meter.inject(HouseFault.BACKFEED)
    assert setup.wire.run(setup.port.read_load_side()) > 200_000


def test_a_meter_without_a_switch_has_no_load_side() -> None:
    setup = Setup(house={"contactor": Contactor.NONE}).open()
    assert setup.wire.run(setup.port.read_load_side()) is None


# ---- three phases -------------------------------------------------------------------------------------------


def test_a_three_phase_meter_is_read_by_the_same_driver() -> None:
    setup = Setup(house={"phases": 3}).open()
    values = {BY_CODE[r.quantity].name: r.value for r in setup.wire.run(setup.port.read_instant(setup.clock.now_ms))}
    truth = setup.meter.snapshot()
    assert [values[f"power_l{n}_w"] for n in (1, 2, 3)] == [phase.power_w for phase in truth.phases]
    assert all(abs(values[f"voltage_l{n}_mv"] - phase.voltage_mv) < 10 for n, phase in enumerate(truth.phases, 1))
    assert values["energy_import_wh"] == truth.energy_import_wh
    assert "voltage_mv" not in values


def test_three_phase_blocks_have_their_phases() -> None:
    setup = Setup(house={"phases": 3}).open()
    rows = setup.wire.run(setup.port.read_intervals(START_MS - 8 * QUARTER_MS, START_MS))
    assert len(named(rows, "interval_voltage_l3_mv")) == len(named(rows, "interval_import_wh")) == 8


# ---- events -------------------------------------------------------------------------------------------------


def test_an_event_of_a_snapshot_log_carries_what_was_measured() -> None:
    setup = Setup().open()
    setup.meter.report_event(7)
    (event,) = setup.wire.run(setup.port.read_events(START_MS - 1))
    assert set(dict(part.split("=") for part in event.detail.split())) == {"v", "i", "pf", "wh"}
    assert f"wh={setup.meter.snapshot().energy_import_wh}" in event.detail


def test_three_phase_snapshots_have_three_of_each() -> None:
    setup = Setup(house={"phases": 3}).open()
    setup.meter.report_event(51)
    (event,) = setup.wire.run(setup.port.read_events(START_MS - 1))
    names = {part.split("=")[0] for part in event.detail.split()}
    assert names == {"i1", "i2", "i3", "v1", "v2", "v3", "pf1", "pf2", "pf3", "wh"}


def test_quiet_logs_cost_one_exchange() -> None:
    setup = Setup().open()
    setup.events(0)
    assert setup.exchanges(setup.port.read_events(START_MS)) == 1


def test_a_log_that_moved_costs_one_more() -> None:
    setup = Setup().open()
    setup.events(0)
    setup.meter.report_event(201)
    setup.clock.advance(1_000)
    assert setup.exchanges(setup.port.read_events(START_MS - 1)) == 2


def test_what_was_handed_out_is_handed_out_again_until_the_question_moves_on() -> None:
    setup = Setup().open()
    setup.events(START_MS)
    setup.clock.advance(1_000)
    setup.meter.report_event(201)
    assert setup.events(START_MS) == setup.events(START_MS) == [201]
    assert setup.events(START_MS + 1_000) == []


def test_an_event_of_the_same_moment_is_not_lost() -> None:
    setup = Setup().open()
    setup.clock.advance(1_000)
    setup.meter.report_event(201)
    now_ms = setup.clock.now_ms()
    assert setup.events(START_MS) == [201]
    setup.meter.report_event(203)
    assert setup.events(now_ms) == [203]


def test_events_after_a_clock_set_back_are_not_lost() -> None:
    setup = Setup().open()
    setup.meter.report_event(201)
    setup.events(0)
    setup.meter.set_clock(START_MS - MS_PER_HOUR)
    setup.meter.report_event(202)
    assert 202 in setup.events(START_MS)


def test_a_sequence_number_that_wraps_still_tells_one_new_entry(monkeypatch) -> None:
    setup = Setup().open()
    monkeypatch.setattr("gridtally_edge.simulators.dlms_objects._SEQUENCE_WRAP", 4)
    monkeypatch.setattr("gridtally_edge.drivers.is15959_events._WRAP", 4)
    for code in (201, 202, 201):
        setup.meter.report_event(code)
    setup.events(START_MS)
    setup.meter.set_clock(START_MS - MS_PER_HOUR)
    setup.meter.report_event(202)
    assert 202 in setup.events(START_MS)


def test_logs_without_sequence_numbers_are_read_each_time() -> None:
    setup = Setup().open()
    group = next(g for g in setup.wire.slave._units[1, 17].device.groups if hasattr(g, "_plain"))
    for log in range(7):
        del group._plain[attribute(1, f"0.0.96.15.{log}.255", 2)]
    setup.events(0)
    assert setup.exchanges(setup.port.read_events(START_MS)) == 8


def test_a_meter_that_fails_at_lists_is_read_one_by_one() -> None:
    setup = Setup().open()

    def no_lists(number: int, answer: bytes) -> bytes:
        if b"\xe6\xe6\x00\xc0\x03" not in setup.wire.requests[-1]:
            return answer
        return encode_frame(replace(frames_of(answer)[0], information=b"\xe6\xe7\x00\xd8\x01\x02"))

    setup.wire.damage = no_lists
    assert setup.wire.run(setup.port.read_name_plate()) == setup.meter.name_plate()
    assert setup.wire.run(setup.port.read_name_plate()) == setup.meter.name_plate()
    assert setup.exchanges(setup.port.read_name_plate()) == 8
    setup.meter.report_event(201)
    assert setup.events(START_MS - 1) == [201]


def test_a_small_meter_gets_its_list_in_parts() -> None:
    clock = ManualClock(START_MS)
    meter = HouseMeter(HouseSettings("GT0017", 1, history_days=3), clock)
    wire, port = Wire(DlmsUnit(meter, 17, max_pdu=128)), DlmsPort(Is15959Settings(17, password=PASSWORD))
    wire.run(port.open())
    meter.report_event(201)
    assert [event.code for event in wire.run(port.read_events(START_MS - 1))] == [201]
    lists = [r for r in wire.requests if b"\xe6\xe6\x00\xc0\x03" in r]
    assert len(lists) == 2
    assert all(len(r) < 128 for r in lists)


@pytest.mark.covers_part("BYPL-0b")
def test_the_status_word_tells_what_stands() -> None:
    setup = Setup().open()
    for code in (3, 9, 201, 101):
        setup.meter.report_event(code)
    setup.meter.report_event(10)
    standing = setup.wire.run(setup.port.read_status_word(lambda: 42))
    assert [(event.code, event.at_ms) for event in standing] == [(3, 42), (201, 42), (1017, 42)]


def test_status_bits_are_counted_from_the_top_of_the_first_octet() -> None:
    word = decode(bytes.fromhex("04 81 80 40 00 00 00 00 00 00 00 00 00 06 00 00 00 00 00".replace(" ", "")))
    assert [event.code for event in status_events(word, 0)] == [3, 1017, 1018]


def test_a_quiet_poll_takes_eight_exchanges() -> None:
    """SNRM, AARQ, serial, instantaneous, switch with load side, log marks, load profile, DISC."""
    setup = Setup().open()
    now_ms = setup.clock.now_ms
    request = PollRequest("GT0017", spans=(Span(START_MS - QUARTER_MS, START_MS),), events_after_ms=START_MS)
    setup.wire.run(poll(setup.port, request, now_ms))
    assert setup.exchanges(poll(setup.port, request, now_ms)) == 8


# ---- quality ------------------------------------------------------------------------------------------------


def test_a_block_in_which_the_clock_was_set_is_marked() -> None:
    setup = Setup().open()
    setup.clock.advance(60_000)
    setup.wire.run(setup.port.write_clock(setup.clock.now_ms() + 5_000))
    setup.clock.advance(MS_PER_HOUR)
    rows = setup.wire.run(setup.port.read_intervals(START_MS - QUARTER_MS, START_MS + 2 * QUARTER_MS))
    assert [r.quality for r in named(rows, "interval_import_wh")] == [0, int(Quality.CLOCK_UNCERTAIN), 0]


def test_blocks_without_power_say_so() -> None:
    setup = Setup().open()
    setup.clock.advance(60_000)
    setup.meter.report_event(101)
    setup.clock.advance(QUARTER_MS)
    setup.meter.report_event(102)
    setup.clock.advance(MS_PER_HOUR)
    rows = setup.wire.run(setup.port.read_intervals(START_MS - QUARTER_MS, START_MS + 3 * QUARTER_MS))
    failed = int(Quality.POWER_FAIL)
    assert [r.quality for r in named(rows, "interval_import_wh")] == [0, failed, failed, 0]


def test_after_a_change_of_the_capture_period_rows_start_where_they_did() -> None:
    setup = Setup().open()
    setup.wire.run(setup.port.read_intervals(START_MS - MS_PER_HOUR, START_MS))
    setup.clock.advance(MS_PER_HOUR)
    setup.meter.take_setting(ms.CapturePeriod(1_800))
    setup.clock.advance(3 * MS_PER_HOUR)
    setup.wire.run(setup.port.close())
    setup.open()
    rows = named(setup.wire.run(setup.port.read_intervals(START_MS, START_MS + 3 * MS_PER_HOUR)), "interval_import_wh")
    assert [r.at_ms - START_MS for r in rows] == [0, 900_000, 1_800_000, 2_700_000, *range(3_600_000, 10_800_000, 1_800_000)]
    edges = [setup.meter.registers_at(r.at_ms)[0] for r in rows] + [setup.meter.registers_at(START_MS + 3 * MS_PER_HOUR)[0]]
    assert [r.value for r in rows] == [b - a for a, b in itertools.pairwise(edges)]
    assert setup.port.interval_s == 1_800


# ---- associations and lines ---------------------------------------------------------------------------------

INDIAN = {"settings_client": 48, "settings_secret": SECRET}
PLAIN = MeterAccess(Scheme.IS15959, Mechanism.HLS, PASSWORD.encode(), SECRET.encode())
SEALED = MeterAccess(Scheme.IS15959, Mechanism.HLS, PASSWORD.encode(), SECRET.encode(), True, MeterKeys(b"GTYMETER"))
KEYS = {"system_title": b"GTYDCU01", "key": KEY, "auth_key": AUTH_KEY}


@pytest.mark.parametrize(("access", "keys"), [(PLAIN, {}), (SEALED, KEYS)], ids=["part 1", "ciphered"])
def test_reading_and_settings_have_their_own_association(access: MeterAccess, keys: dict[str, object]) -> None:
    setup = Setup(access, **INDIAN, **keys).open()
    assert setup.wire.run(setup.port.read_serial()) == "GT0017"
    setup.wire.run(setup.port.write_setting(ms.DemandPeriod(1_800)))
    setup.wire.run(setup.port.open_switch())
    assert [event.code for event in setup.meter.events()] == [152, 301]
    assert setup.wire.run(setup.port.read_instant(setup.clock.now_ms))
    setup.wire.run(setup.port.close())


def test_the_reading_client_alone_may_change_nothing() -> None:
    setup = Setup(PLAIN).open()
    with pytest.raises(RefusedCommand, match="denied"):
        setup.wire.run(setup.port.write_setting(ms.DemandPeriod(1_800)))


def test_another_meter_behind_the_same_address_is_not_switched() -> None:
    setup = Setup(PLAIN, **INDIAN).open()
    setup.wire.run(setup.port.read_serial())
    setup.port._session._serial = "GT0099"
    with pytest.raises(RefusedCommand, match="wrong_serial"):
        setup.wire.run(setup.port.open_switch())
    assert setup.meter.events() == ()


def test_a_counter_behind_the_meters_own_is_caught_up_first() -> None:
    setup = Setup(SEALED, **INDIAN, **KEYS).open()
    assert setup.wire.run(setup.port.read_serial()) == "GT0017"
    fresh = DlmsPort(Is15959Settings(17, password=PASSWORD, **INDIAN, **KEYS))
    setup.wire.run(setup.port.close())
    setup.wire.run(fresh.open())
    assert setup.wire.run(fresh.read_serial()) == "GT0017"


class FarAhead:
    """A book of counters that stands where it was told."""

    def __init__(self, at: int) -> None:
        self.at = at

    def take(self, channel: str) -> int:
        self.at += 1
        return self.at - 1

    def next_of(self, channel: str) -> int:
        return self.at

    def raise_to(self, channel: str, counter: int) -> None:
        self.at = max(self.at, counter)

    def hear(self, channel: str, counter: int) -> bool:
        return True


def test_a_kept_book_follows_the_meter_only_within_its_bound() -> None:
    setup = Setup(SEALED, **INDIAN, **KEYS)
    setup.port.keep_counters(FarAhead(500_000))
    setup.wire.run(setup.port.open())
    setup.wire.run(setup.port.close())
    setup.port.keep_counters(FarAhead(1))
    with pytest.raises(MeterFault, match="by hand"):
        setup.wire.run(setup.port.open())


class LastingConnection(WrapperSlave):
    def forget(self) -> None:
        """Silence does not end a connection."""


class WrapperWire(Wire):
    def __init__(self, unit: DlmsUnit) -> None:
        super().__init__(unit)
        self.slave = LastingConnection(unit)


@pytest.mark.parametrize("transport", [Transport.WRAPPER_TCP, Transport.WRAPPER_UDP])
def test_the_same_meter_over_the_wrapper(transport: Transport) -> None:
    clock = ManualClock(START_MS)
    meter = HouseMeter(HouseSettings("GT0017", 1, history_days=3), clock)
    wire = WrapperWire(DlmsUnit(meter, 1, access=PLAIN))
    port = DlmsPort(Is15959WrapperSettings(transport=transport, password=PASSWORD, **INDIAN))
    wire.run(port.open())
    assert wire.run(port.read_serial()) == "GT0017"
    assert wire.run(port.read_instant(clock.now_ms))
    assert len(named(wire.run(port.read_intervals(START_MS - MS_PER_HOUR, START_MS)), "interval_import_wh")) == 4
    wire.run(port.open_switch())
    assert [event.code for event in meter.events()] == [301]
    wire.run(port.close())


@pytest.mark.parametrize("auth", [Auth.HLS2, Auth.MD5, Auth.SHA1, Auth.SHA256])
def test_every_way_to_prove_oneself(auth: Auth) -> None:
    mechanism = {Auth.HLS2: Mechanism.HLS, Auth.MD5: Mechanism.HLS_MD5, Auth.SHA1: Mechanism.HLS_SHA1, Auth.SHA256: Mechanism.HLS_SHA256}
    access = MeterAccess(Scheme.IS15959, mechanism[auth], PASSWORD.encode(), SECRET.encode())
    setup = Setup(access, **INDIAN, settings_auth=auth).open()
    setup.wire.run(setup.port.reset(ms.ResetKind.MAXIMUM_DEMAND))
    assert [event.code for event in setup.meter.events()] == [166]


def test_a_port_can_everything_but_firmware() -> None:
    assert set(Capability) - DlmsPort.capabilities == {Capability.FIRMWARE}


def test_a_log_entry_without_code_is_no_event() -> None:
    assert MeterEvent(7, 0).detail == ""
    with pytest.raises(MeterFault):
        status_events(decode(b"\x11\x00"), 0)
