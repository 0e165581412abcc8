"""Every profile against a slave that serves it, and against what meters do that do not fit theirs."""

import struct
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.modbus_decode import BlockDecoder
from gridtally_edge.drivers.modbus_port import ModbusPort, read_vector
from gridtally_edge.drivers.modbus_profile import built_in, driver_of, profile_names
from gridtally_edge.drivers.modbus_table import UNITS, Encoding, MeterTable, Probe, Register, SerialCell, SerialForm, block_of
from gridtally_edge.drivers.registry import driver_named
from gridtally_edge.protocols.modbus import Function, Kind, WordOrder, encode_value, with_crc
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.profile_slave import MILLI_PER_PULSE, VALUES, ProfileSlave
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, MeterFault
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE, BY_NAME
from support.modbus_talk import converse

NOON_MS = 1_795_000_000_000


@pytest.fixture(scope="module")
def house():
    meter = HouseMeter(HouseSettings("20000007", 7), ManualClock(NOON_MS))
    yield meter
    meter.close()


def settings_of(name: str, unit: int = 5) -> dict:
    profile, more = built_in(name), {}
    if profile.table.serial is None:
        more["label"] = "20000007"
    if profile.pulse:
        more["milli_per_pulse"] = MILLI_PER_PULSE
    return {"unit": unit, **more}


def port_of(name: str) -> ModbusPort:
    driver = driver_named(name)
    return driver.make_port(settings_from(driver, settings_of(name)))


def step_of(row: Register, value: float) -> Fraction:
    """What one step of a register is worth in our integer, and half of one for rounding."""
    ours = UNITS[row.unit][1] / Fraction(10) ** BY_NAME[row.quantity].exponent
    if row.kind.is_float:
        return Fraction(abs(value)) / 2**23 + 1
    pulse = Fraction(MILLI_PER_PULSE, 1_000) if row.quantity in ("gas_volume_l", "water_volume_l", "heat_energy_wh") else 1
    return row.scale * ours * pulse + 1


def raw_reading(register: Register, octets: bytes):
    return BlockDecoder(block_of((register,))).readings(octets, 0)[0]


@pytest.mark.parametrize("name", profile_names())
def test_a_port_reads_a_slave_of_its_profile(name, house):
    slave, port, table = ProfileSlave(5, house, built_in(name)), port_of(name), built_in(name).table
    assert converse(port.read_serial(), slave.receive)[0] == "20000007"
    readings, requests = converse(port.read_instant(lambda: NOON_MS), slave.receive)
    assert len(requests) == len(table.blocks())
    assert {BY_CODE[r.quantity].name for r in readings} == {r.quantity for r in table.registers}
    snapshot, rows = house.snapshot(), {r.quantity: r for r in table.registers}
    for reading in readings:
        row = BY_CODE[reading.quantity]
        assert reading.quality == 0, row.name
        meant = VALUES[row.name](snapshot)
        assert abs(reading.value - meant) <= step_of(rows[row.name], meant), row.name


@pytest.mark.parametrize("name", profile_names())
def test_a_poll_asks_for_no_register_the_profile_does_not_span(name):
    table = built_in(name).table
    for block in table.blocks():
        used = {at for row in block.registers for start, end in row.cells for at in range(start, end)}
        holes = sorted(set(range(block.address, block.address + block.count)) - used)
        runs = "".join("x" if at - 1 not in holes else "." for at in holes).split("x")
        assert all(len(run) + 1 <= table.max_hole for run in runs[1:])
        assert block.count <= table.max_registers


def test_a_meter_of_the_other_map_is_refused_and_the_fitting_profile_named(house):
    em340 = ProfileSlave(5, house, built_in("gavazzi-em340"))
    with pytest.raises(MeterFault, match=r"no gavazzi-em24: identification code reads 331, which is gavazzi-em340"):
        converse(port_of("gavazzi-em24").read_serial(), em340.receive)


def test_a_model_number_nobody_knows_is_told_as_it_is(house):
    slave = ProfileSlave(5, house, built_in("gavazzi-em24"))

    def other(request: bytes) -> bytes:
        return with_crc(bytes((5, 4, 2, 0x02, 0x9A))) if request[2:4] == b"\x00\x0b" else slave.receive(request)

    with pytest.raises(MeterFault, match=r"reads 666, and no profile here knows that; check model and address"):
        converse(port_of("gavazzi-em24").read_serial(), other)


def test_the_model_number_is_asked_once(house):
    slave, port = ProfileSlave(5, house, built_in("gavazzi-em24")), port_of("gavazzi-em24")
    first, second = (len(converse(port.read_serial(), slave.receive)[1]) for _ in range(2))
    assert (first, second) == (2, 1)


def test_a_meter_set_to_the_other_word_order_is_told_and_read_with_the_setting(house):
    profile, driver = built_in("selec-mfm383a"), driver_named("selec-mfm383a")
    turned = driver.make_port(settings_from(driver, {"unit": 5, "label": "1", "order": "ABCD"})).table
    slave = ProfileSlave(5, house, _with_table(profile, turned))
    with pytest.raises(MeterFault, match=r"frequency reads .*; with order=ABCD it would be (49|50)\.\d+: set that"):
        converse(port_of("selec-mfm383a").read_serial(), slave.receive)
    port = driver.make_port(settings_from(driver, {"unit": 5, "label": "1", "order": "ABCD"}))
    assert converse(port.read_serial(), slave.receive)[0] == "1"
    readings, _ = converse(port.read_instant(lambda: 0), slave.receive)
    assert {r.quality for r in readings} == {0}


def _with_table(profile, table):
    return replace(profile, table=table)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"unit": 5}, "label.*does not tell its serial number"),
        ({"unit": 5, "label": "x", "order": "DCAB"}, "order.*ABCD, CDAB, BADC, DCBA"),
        ({"unit": 300, "label": "x"}, "unit.*1 to 247"),
    ],
)
def test_settings_of_a_meter_without_serial_are_checked(values, says):
    driver = driver_named("selec-em2m")
    with pytest.raises(ConfigError, match=says):
        driver.make_port(settings_from(driver, values))


def test_a_label_on_a_meter_that_tells_its_serial_is_refused():
    driver = driver_named("abb-b23")
    with pytest.raises(ConfigError, match="tells its serial number itself"):
        driver.make_port(settings_from(driver, {"unit": 5, "label": "x"}))


@pytest.mark.parametrize("code", [1, 4, 6])
def test_other_exceptions_end_the_poll_in_words(code):
    words = {1: "illegal function", 4: "server device failure", 6: "server device busy"}[code]
    with pytest.raises(MeterFault, match=f"exception {code}, {words}"):
        converse(port_of("abb-b23").read_instant(lambda: 0), lambda request: with_crc(bytes((5, 0x83, code))))


@pytest.mark.parametrize("code", [2, 3])
def test_a_refused_block_is_read_register_by_register_and_what_is_missing_is_marked(code, house):
    slave = ProfileSlave(5, house, built_in("abb-b23"))

    def picky(request: bytes) -> bytes:
        address, count = struct.unpack(">HH", request[2:6])
        lacks = address <= 0x5B2C < address + count
        return with_crc(bytes((5, 0x83, code))) if lacks else slave.receive(request)

    port = port_of("abb-b23")
    readings, first = converse(port.read_instant(lambda: 7), picky)
    assert len(first) == 2 + 12
    marked = {BY_CODE[r.quantity].name: (r.value, r.quality) for r in readings if r.quality}
    assert marked == {"frequency_mhz": (0, Quality.METER_INVALID)}
    again, second = converse(port.read_instant(lambda: 8), picky)
    assert len(second) == 1 + 11, "the missing register is not asked again"
    assert {r.quantity for r in again} == {r.quantity for r in readings}
    assert [BY_CODE[r.quantity].name for r in again if r.quality] == ["frequency_mhz"]


def test_a_meter_without_any_register_of_the_profile_is_another_model():
    with pytest.raises(MeterFault, match=r"has no register of eastron-sdm230.*illegal data address"):
        converse(port_of("eastron-sdm230").read_instant(lambda: 0), lambda request: with_crc(bytes((5, 0x84, 2))))


# ---- values -----------------------------------------------------------------------------------------------------

ABSENT = [
    (Kind.U16, "ffff"), (Kind.S16, "7fff"), (Kind.S16, "8000"), (Kind.U32, "ffffffff"), (Kind.S32, "7fffffff"),
    (Kind.S32, "80000000"), (Kind.U64, "ff" * 8), (Kind.S64, "7f" + "ff" * 7), (Kind.S64, "80" + "00" * 7),
    (Kind.F32, "7fc00000"), (Kind.F32, "ffc00000"), (Kind.F32, "7f800000"), (Kind.F64, "7ff8000000000000"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "octets"), ABSENT, ids=lambda part: getattr(part, "name", part))
def test_a_mark_for_not_available_is_marked_and_never_a_zero_that_counts(kind, octets):
    row = Register("energy_import_wh", 0, "Wh", kind=kind, low=-(2**63), high=2**64)
    reading = raw_reading(row, bytes.fromhex(octets))
    assert (reading.value, reading.quality) == (0, Quality.METER_INVALID)


def test_a_profile_may_name_other_marks():
    row = Register("voltage_mv", 0, "V", kind=Kind.U16, scale=Fraction(1, 10), absent=frozenset({0x8000}))
    assert raw_reading(row, b"\x80\x00").quality == Quality.METER_INVALID
    assert raw_reading(row, b"\x08\xfd").value == 230_100


@given(raw=st.integers(0, 2**64 - 2))
def test_a_64_bit_counter_never_passes_through_a_float(raw):
    row = Register("energy_import_wh", 0, "kWh", 0, 2**64, Kind.U64, scale=Fraction(1, 100))
    assert raw_reading(row, raw.to_bytes(8, "big")).value == raw * 10


@given(raw=st.integers(-(2**31) + 1, 2**31 - 2), scale=st.sampled_from(["0.001", "0.01", "0.1", "0.25", "7", "-1", "0.3"]))
def test_an_integer_is_rounded_once_half_to_even(raw, scale):
    row = Register("power_w", 0, "W", -(10**12), 10**12, Kind.S32, scale=Fraction(scale))
    assert raw_reading(row, raw.to_bytes(4, "big", signed=True)).value == round(raw * Fraction(scale))


@given(raw=st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=0, max_value=1e7))
@pytest.mark.parametrize("kind", [Kind.F32, Kind.F64], ids=lambda k: k.name)
def test_a_float_is_rounded_once_from_its_exact_value(kind, raw):
    row = Register("energy_import_wh", 0, "kWh", kind=kind)
    assert raw_reading(row, struct.pack(f">{kind.code}", raw)).value == round(Fraction(raw) * 1_000)


@given(value=st.integers(-(2**31) + 1, 2**31 - 2))
@pytest.mark.parametrize("order", WordOrder, ids=lambda o: o.value)
def test_every_word_order_reads_what_it_wrote(order, value):
    words = encode_value(value, Kind.S32, order)
    row = Register("power_w", 0, "W", -(2**40), 2**40, Kind.S32, order=order)
    assert raw_reading(row, struct.pack(">2H", *words)).value == value


@pytest.mark.parametrize(("order", "line"), [("ABCD", "12345678"), ("CDAB", "56781234"), ("BADC", "34127856"), ("DCBA", "78563412")])
def test_word_orders_are_what_their_names_say(order, line):
    row = Register("energy_import_wh", 0, "Wh", kind=Kind.U32, order=WordOrder(order))
    assert raw_reading(row, bytes.fromhex(line)).value == 0x12345678


def test_values_of_several_orders_and_types_stand_in_one_block():
    rows = (
        Register("voltage_mv", 10, "V", kind=Kind.U16, scale=Fraction(1, 10)),
        Register("energy_import_wh", 12, "kWh", kind=Kind.U64, order=WordOrder.LITTLE),
        Register("power_w", 18, "W", kind=Kind.S32, order=WordOrder.REVERSED),
        Register("frequency_mhz", 21, "Hz"),
    )
    block = MeterTable(rows).blocks()[0]
    octets = "08fd" + "eeee" + "0005000000000000" + "eeeeeeee" + "f6ffffff" + "eeee" + struct.pack(">f", 49.5).hex()
    readings = BlockDecoder(block).readings(bytes.fromhex(octets), 1)
    assert [r.value for r in readings] == [230_100, 5_000, -10, 49_500]
    with pytest.raises(MeterFault, match="octets are not the registers"):
        BlockDecoder(block).readings(bytes.fromhex(octets)[:-1], 1)


@pytest.mark.parametrize(("exponent", "value"), [(0, 1_234), (2, 123_400), (-1, 123), (-32_768, None), (32_767, None)])
def test_an_exponent_register_scales_its_value(exponent, value):
    row = Register("power_w", 0, "W", kind=Kind.S16, exponent_at=3)
    reading = raw_reading(row, struct.pack(">hHHh", 1_234, 9, 9, exponent))
    assert (reading.value, reading.quality) == ((value, 0) if value is not None else (0, Quality.METER_INVALID))


@pytest.mark.parametrize(("raw", "factor"), [(0.5, 500), (-0.5, -500), (1.25, 750), (-1.25, -750), (2.5, None)])
def test_a_four_quadrant_power_factor_counts_back_past_one(raw, factor):
    row = Register("power_factor_milli", 0, "1", encoding=Encoding.FOUR_QUADRANTS)
    reading = raw_reading(row, struct.pack(">f", raw))
    assert (reading.value, reading.quality) == ((factor, 0) if factor is not None else (0, Quality.METER_INVALID))


def test_an_offset_shifts_the_value_in_the_unit_of_the_meter():
    row = Register("flow_temperature_mdeg", 0, "°C", kind=Kind.U16, scale=Fraction(1, 10), offset=Fraction(-40))
    assert raw_reading(row, struct.pack(">H", 615)).value == 21_500


@pytest.mark.parametrize(
    ("form", "octets", "serial"),
    [(SerialForm.NUMBER, "01312d07", "20000007"), (SerialForm.TEXT, "414231320000", "AB12"), (SerialForm.HEX, "00ab", "00ab")],
)
def test_serial_numbers_come_as_number_text_or_octets(form, octets, serial):
    line = bytes.fromhex(octets)
    table = MeterTable((Register("voltage_mv", 0, "V"),), SerialCell(9, len(line) // 2, form))
    answer = with_crc(bytes((1, 3, len(line))) + line)
    assert converse(ModbusPort(table, 1).read_serial(), lambda request: answer)[0] == serial


@pytest.mark.parametrize("octets", ["0000000000", "ffffffffff", "41420a4142", "00e4414242"])
def test_a_text_that_is_no_serial_number_is_a_meter_fault(octets):
    line = bytes.fromhex(octets + "00")
    table = MeterTable((Register("voltage_mv", 0, "V"),), SerialCell(9, 3, SerialForm.TEXT))
    answer = with_crc(bytes((1, 3, 6)) + line)
    with pytest.raises(MeterFault, match="no serial number in registers 0x0009"):
        converse(ModbusPort(table, 1).read_serial(), lambda request: answer)


@pytest.mark.covers_part("ETSI-3.1")
@pytest.mark.parametrize(
    ("name", "commodity", "quantity", "unit"),
    [
        ("pulse-water", "water", "water_volume_l", "m3"),
        ("pulse-gas", "gas", "gas_volume_l", "m3"),
        ("pulse-heat", "heat", "heat_energy_wh", "Wh"),
    ],
)
def test_meters_of_several_utilities_keep_their_units(name, commodity, quantity, unit, house):
    driver = driver_named(name)
    assert driver.commodity == commodity
    assert BY_NAME[quantity].unit == unit
    slave, port = ProfileSlave(5, house, built_in(name)), port_of(name)
    readings, _ = converse(port.read_instant(lambda: 0), slave.receive)
    assert [(BY_CODE[r.quantity].name, BY_CODE[r.quantity].unit) for r in readings] == [(quantity, unit)]


def test_a_pulse_is_worth_what_the_setting_says_from_where_the_dial_stood():
    driver = driver_named("pulse-water")
    values = {"unit": 1, "channel": 3, "milli_per_pulse": 10, "start_milli": 123_456, "label": "W-77"}
    port = driver.make_port(settings_from(driver, values))
    (readings, requests) = converse(port.read_instant(lambda: 0), lambda request: with_crc(bytes((1, 3, 4)) + (500).to_bytes(4, "big")))
    assert requests[0][2:4] == b"\x00\x04", "the third input's cell"
    assert readings[0].value == 123_456 + 500 * 10
    assert converse(port.read_serial(), lambda request: with_crc(bytes((1, 3, 4)) + bytes(4)))[0] == "W-77"
    for wrong in ({"channel": 9}, {"channel": 0}, {"milli_per_pulse": 0}, {"label": ""}):
        with pytest.raises(ConfigError):
            driver.make_port(settings_from(driver, values | wrong))


def test_a_profile_of_ones_own_names_the_built_in_one_that_fits(house):
    probe = Probe("identification code", 0x000B, Kind.U16, Function.READ_INPUT, values=frozenset({1_000}))
    table = MeterTable(built_in("gavazzi-em24").table.registers, built_in("gavazzi-em24").table.serial, probe)
    driver = driver_of(_with_table(built_in("gavazzi-em24"), table))
    port = driver.make_port(settings_from(driver, {"unit": 5}))
    with pytest.raises(MeterFault, match="which is gavazzi-em24"):
        converse(port.read_serial(), ProfileSlave(5, house, built_in("gavazzi-em24")).receive)


def test_a_recording_with_a_refusal_is_no_vector():
    request = bytes.fromhex("01040000000271cb")
    with pytest.raises(MeterFault):
        read_vector(built_in("eastron-sdm230").table, request + with_crc(bytes((1, 0x84, 2))))
