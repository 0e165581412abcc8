"""The IS 15959 driver against the simulated meter over an in-memory line, and against its document vectors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridtally_edge.drivers.dlms_table import table_rows
from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.is15959 import CLOCK, DRIVER, Auth, DlmsPort, Is15959Settings
from gridtally_edge.drivers.is15959_prepaid import Prepaid
from gridtally_edge.drivers.model import Face, Reading, Recharge, SwitchState
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.axdr import decode
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.hdlc import Control, encode_frame, frames_of
from gridtally_edge.simulators.dlms_slave import DlmsUnit
from gridtally_edge.simulators.house import Contactor, HouseMeter, HouseSettings
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault, RefusedCommand
from gridtally_shared.events import event_type
from gridtally_shared.quantities import BY_CODE, INTERVAL_IMPORT
from support.dlms_wire import PASSWORD, START_MS, Wire, house

QUARTER_MS = 900_000


class Setup:
    """One meter at address 17, one at 18, and a port to the first."""

    def __init__(self, noise: int = 0, seed: int = 0, kind: type[HouseMeter] = HouseMeter, **unit: object) -> None:
        self.clock = ManualClock(START_MS)
        self.meter = kind(HouseSettings("GT0017", 1, history_days=3), self.clock)
        neighbour = house("GT0018", self.clock, seed=2)
        self.wire = Wire(DlmsUnit(self.meter, 17, **unit), DlmsUnit(neighbour, 18), noise=noise, seed=seed)
        self.port = DlmsPort(Is15959Settings(17, password=PASSWORD))

    def open(self) -> Setup:
        self.wire.run(self.port.open())
        return self


class WithAFigureOfItsOwn(HouseMeter):
    """Shows 7, whatever it is told."""

    def show_balance(self, amount_minor: int, at_ms: int) -> None:
        super().show_balance(7, at_ms)


class WithoutALineOfText(HouseMeter):
    tried: tuple[str, ...] = ()

    def show_text(self, text: str) -> None:
        self.tried += (text,)
        raise MeterFault("no such line")


def by_name(readings: tuple[Reading, ...]) -> dict[str, int]:
    return {BY_CODE[r.quantity].name: r.value for r in readings}


@pytest.mark.parametrize("vector", DRIVER.vectors, ids=lambda vector: vector.name)
def test_document_vectors(vector) -> None:
    assert DRIVER.read_vector(vector.data) == vector.expects


def test_reads_the_serial() -> None:
    setup = Setup().open()
    assert setup.wire.run(setup.port.read_serial()) == "GT0017"


def test_the_cumulative_register_is_exact_in_watt_hours() -> None:
    setup = Setup().open()
    readings = setup.wire.run(setup.port.read_instant(setup.clock.now_ms))
    assert by_name(readings)["energy_import_wh"] == setup.meter.snapshot().energy_import_wh


def test_instant_values_carry_the_moment_of_the_dcu() -> None:
    setup = Setup().open()
    readings = setup.wire.run(setup.port.read_instant(lambda: 42))
    assert {reading.at_ms for reading in readings} == {42}


def test_instant_values_are_those_of_the_meter() -> None:
    setup = Setup().open()
    values, truth = by_name(setup.wire.run(setup.port.read_instant(setup.clock.now_ms))), setup.meter.snapshot()
    assert values["power_w"] == truth.power_w
    assert values["frequency_mhz"] == truth.frequency_mhz
    assert values["energy_export_wh"] == truth.energy_export_wh
    assert abs(values["voltage_mv"] - truth.voltage_mv) < 10


@pytest.mark.parametrize("entry_access_only", [False, True])
def test_blocks_are_stamped_with_their_start_and_add_up(entry_access_only: bool) -> None:
    setup = Setup(entry_access_only=entry_access_only).open()
    end_ms = START_MS // QUARTER_MS * QUARTER_MS
    start_ms = end_ms - 96 * QUARTER_MS
    readings = setup.wire.run(setup.port.read_intervals(start_ms, end_ms))
    imports = [r for r in readings if r.quantity == INTERVAL_IMPORT.code]
    assert [r.at_ms for r in imports] == list(range(start_ms, end_ms, QUARTER_MS))
    rows = setup.meter.profile(start_ms + QUARTER_MS, end_ms)
    assert [r.value for r in imports] == [row.import_wh for row in rows]


def test_a_day_of_blocks_comes_in_data_blocks() -> None:
    setup = Setup(max_pdu=300).open()
    end_ms = START_MS // QUARTER_MS * QUARTER_MS
    readings = setup.wire.run(setup.port.read_intervals(end_ms - 96 * QUARTER_MS, end_ms))
    assert len([r for r in readings if r.quantity == INTERVAL_IMPORT.code]) == 96


def test_events_keep_their_is_codes_and_come_once() -> None:
    setup = Setup().open()
    setup.meter.report_event(201)
    first = setup.wire.run(setup.port.read_events(0))
    assert 201 in {event.code for event in first}
    newest = max(event.at_ms for event in first)
    assert setup.wire.run(setup.port.read_events(newest)) == ()


@pytest.mark.covers_part("BYPL-0b")
def test_a_poll_with_the_is_profile_gives_codes_with_a_cim_code() -> None:
    setup = Setup().open()
    setup.meter.report_event(251)
    assert setup.wire.run(setup.port.read_instant(setup.clock.now_ms))
    codes = {event.code for event in setup.wire.run(setup.port.read_events(0))}
    assert 251 in codes
    assert event_type(251).cim == "3.12.29.39"


def test_the_capture_period_of_the_meter_overrides_the_setting() -> None:
    setup = Setup()
    port = DlmsPort(Is15959Settings(17, password=PASSWORD, interval_s=1_800))
    setup.wire.run(port.open())
    end_ms = START_MS // QUARTER_MS * QUARTER_MS
    readings = setup.wire.run(port.read_intervals(end_ms - 4 * QUARTER_MS, end_ms))
    assert port.interval_s == 900
    assert sorted({r.at_ms for r in readings}) == list(range(end_ms - 4 * QUARTER_MS, end_ms, QUARTER_MS))


def test_a_row_without_a_whole_time_stamp_is_left_out() -> None:
    columns = (CLOCK, attribute(3, "1.0.1.29.0.255", 2))
    buffer = decode(bytes.fromhex("0101 0202 090c ffffffffffffffffff8000ff 120005".replace(" ", "")))
    (row,) = table_rows(columns, buffer, ClockRule(), 900)
    assert row.at_ms is None


def test_the_clock_is_read_and_set() -> None:
    setup = Setup().open()
    assert setup.wire.run(setup.port.read_clock()) == START_MS
    setup.wire.run(setup.port.write_clock(START_MS + 5_000))
    assert setup.wire.run(setup.port.read_clock()) == START_MS + 5_000


def test_an_open_switch_stops_consumption() -> None:
    setup = Setup().open()
    assert setup.wire.run(setup.port.read_switch()) is SwitchState.CLOSED
    setup.wire.run(setup.port.open_switch())
    assert setup.wire.run(setup.port.read_switch()) is SwitchState.OPEN
    before = setup.meter.snapshot().energy_import_wh
    setup.clock.advance(3_600_000)
    values = by_name(setup.wire.run(setup.port.read_instant(setup.clock.now_ms)))
    assert values["energy_import_wh"] == before
    setup.wire.run(setup.port.close_switch())
    assert setup.wire.run(setup.port.read_switch()) is SwitchState.CLOSED


def test_a_meter_without_switch_says_so() -> None:
    clock = ManualClock(START_MS)
    meter = HouseMeter(HouseSettings("GT0017", 1, contactor=Contactor.NONE, history_days=3), clock)
    wire, port = Wire(DlmsUnit(meter, 17)), DlmsPort(Is15959Settings(17, password=PASSWORD))
    wire.run(port.open())
    assert wire.run(port.read_switch()) is SwitchState.NOT_FITTED
    with pytest.raises(RefusedCommand, match="unsupported"):
        wire.run(port.open_switch())


def test_the_balance_is_shown_rounded_down_with_its_moment() -> None:
    setup = Setup().open()
    setup.wire.run(setup.port.write_face(Face(12_349_999_999, START_MS - 1_000)))
    assert setup.meter.shown_balance() == (1_234, START_MS - 1_000)
    setup.wire.run(setup.port.write_face(Face(-1, START_MS)))
    assert setup.meter.shown_balance() == (-1, START_MS)


def test_a_display_that_shows_something_else_is_a_fault_of_the_meter() -> None:
    setup = Setup(kind=WithAFigureOfItsOwn).open()
    with pytest.raises(MeterFault, match="reads back"):
        setup.wire.run(setup.port.write_face(Face(12_340_000_000, START_MS)))


def test_a_line_of_text_and_the_last_recharge_are_shown_and_a_meter_without_either_shows_its_figures() -> None:
    setup = Setup().open()
    face = Face(12_340_000_000, START_MS, "Low balance | 9.9 kWh", Recharge(500_000_000_000, START_MS - 60_000, 512_340_000_000))
    setup.wire.run(setup.port.write_face(face))
    assert setup.meter.shown_text() == face.text
    assert setup.wire.run(setup.port.read_prepaid()) == Prepaid(
        1, 0, 500_000_000_000, START_MS - 60_000, 512_340_000_000, 12_340_000_000, START_MS, face.text
    )
    for number in (21, 22, 23):
        setup.meter.set_prepaid(number, 7)
    setup.wire.run(setup.port.write_face(replace(face, recharge=None)))
    assert [setup.meter.prepaid(number) for number in (21, 22, 23)] == [7, 7, 7]


def test_a_meter_without_a_line_of_text_is_asked_for_it_once() -> None:
    setup = Setup(kind=WithoutALineOfText).open()
    for _ in range(2):
        setup.wire.run(setup.port.write_face(Face(12_340_000_000, START_MS, "9.9 kWh")))
    assert isinstance(setup.meter, WithoutALineOfText)
    assert (setup.meter.tried, setup.meter.shown_balance()) == (("9.9 kWh",), (1_234, START_MS))


def test_a_wrong_password_is_refused_in_words() -> None:
    setup = Setup()
    port = DlmsPort(Is15959Settings(17, password="wrong"))
    with pytest.raises(MeterFault, match="check client address and password"):
        setup.wire.run(port.open())


def test_the_public_client_reads_only_clock_and_serial() -> None:
    setup = Setup()
    port = DlmsPort(Is15959Settings(17, client_address=16, auth=Auth.NONE))
    setup.wire.run(port.open())
    assert setup.wire.run(port.read_serial()) == "GT0017"
    with pytest.raises(MeterFault, match="denied"):
        setup.wire.run(port.read_instant(setup.clock.now_ms))


def test_nobody_answers_for_an_absent_address() -> None:
    setup = Setup()
    with pytest.raises(LinkDown):
        setup.wire.run(DlmsPort(Is15959Settings(19, password=PASSWORD)).open())


@pytest.mark.parametrize("octets", [1, 2, 4])
def test_all_address_lengths(octets: int) -> None:
    setup = Setup()
    port = DlmsPort(Is15959Settings(17, address_octets=octets, password=PASSWORD))
    setup.wire.run(port.open())
    assert setup.wire.run(port.read_serial()) == "GT0017"


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_pieces_do_not_matter(seed: int) -> None:
    setup = Setup(noise=9, seed=seed)
    setup.wire.run(_all(setup))


def _all(setup: Setup) -> Conversation[None]:
    end_ms = START_MS // QUARTER_MS * QUARTER_MS
    yield from setup.port.open()
    assert (yield from setup.port.read_serial()) == "GT0017"
    readings = yield from setup.port.read_instant(setup.clock.now_ms)
    assert by_name(readings)["energy_import_wh"] == setup.meter.snapshot().energy_import_wh
    blocks = yield from setup.port.read_intervals(end_ms - 40 * QUARTER_MS, end_ms)
    assert sum(r.quantity == INTERVAL_IMPORT.code for r in blocks) == 40
    yield from setup.port.close()


@pytest.mark.parametrize("lost", range(1, 14))
def test_one_lost_answer_costs_nothing(lost: int) -> None:
    setup = Setup()
    setup.wire.damage = lambda number, answer: b"" if number == lost else answer
    setup.wire.run(_all(setup))


@pytest.mark.parametrize("spoilt", range(1, 14))
def test_one_flipped_bit_costs_nothing(spoilt: int) -> None:
    setup = Setup()
    setup.wire.damage = lambda number, answer: _flipped(answer) if number == spoilt else answer
    setup.wire.run(_all(setup))


def _flipped(answer: bytes) -> bytes:
    middle = len(answer) // 2
    return answer[:middle] + bytes([answer[middle] ^ 0x10]) + answer[middle + 1 :]


def test_a_lost_answer_to_a_switch_order_does_not_repeat_the_order() -> None:
    setup = Setup().open()
    lost = setup.wire.answers + 1
    setup.wire.damage = lambda number, answer: b"" if number == lost else answer
    setup.wire.run(setup.port.open_switch())
    opened = [event for event in setup.meter.events() if event.code == 301]
    assert len(opened) == 1


def test_silence_ends_in_link_down_and_releases() -> None:
    setup = Setup().open()
    setup.wire.damage = lambda number, answer: b""
    before = len(setup.wire.requests)
    with pytest.raises(LinkDown):
        setup.wire.run(setup.port.read_clock())
    asked = setup.wire.requests[before:]
    assert len(asked) <= 8
    assert frames_of(asked[-1])[0].kind is Control.DISC


def test_after_nonsense_the_next_request_associates_anew() -> None:
    setup = Setup().open()
    spoilt = setup.wire.answers + 1
    setup.wire.damage = lambda number, answer: _nonsense(answer) if number == spoilt else answer
    with pytest.raises(MeterFault, match="cut short"):
        setup.wire.run(setup.port.read_clock())
    kinds = [frames_of(request)[0].kind for request in setup.wire.requests[-2:]]
    assert kinds == [Control.I, Control.DISC]
    assert setup.wire.run(setup.port.read_clock()) == START_MS


def _nonsense(answer: bytes) -> bytes:
    """The same frame, sound, around a GET answer that ends too early."""
    return encode_frame(replace(frames_of(answer)[0], information=b"\xe6\xe7\x00\xc4\x01"))


def test_settings_come_from_plain_values() -> None:
    settings = settings_from(DRIVER, {"physical_address": 17, "auth": "none", "clock_policy": "inverted"})
    assert settings == Is15959Settings(17, auth=Auth.NONE, clock_policy=settings.clock_policy)
    assert settings.clock_policy.value == "inverted"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "physical_address"),
        ({"physical_address": "17"}, "type int"),
        ({"physical_address": 17, "baud": 9600}, "knows only"),
        ({"physical_address": 17, "auth": "kerberos"}, "write one of none, lls, hls2"),
    ],
)
def test_wrong_settings_say_what_to_write(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_from(DRIVER, values)
