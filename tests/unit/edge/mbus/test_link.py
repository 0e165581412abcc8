"""The wired M-Bus link: addressing, readout in several telegrams, search; against simulated meters with recorded telegrams."""

from __future__ import annotations

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.mbus import DRIVER, MbusPort
from gridtally_edge.drivers.model import Capability
from gridtally_edge.protocols.mbus.address import Address
from gridtally_edge.protocols.mbus.frames import ACKNOWLEDGED, Frame, decode_frame, frame_length
from gridtally_edge.protocols.mbus.header import Identity
from gridtally_edge.protocols.mbus.link import LinkTiming, change_baud, read_telegrams
from gridtally_edge.protocols.mbus.search import Probed, Search, Seen, probe_primary, probe_selection
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.mbus import ELECTRICITY, HEAT, WATER, MbusSlave, date_time_octets, house_identity, house_telegrams
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, LinkDown, MeterFault
from gridtally_shared.quantities import BY_CODE
from support.data import data_path
from support.mbus_bus import converse
from support.mbus_frames import octets

TIMING = LinkTiming()
FRAMES = data_path("mbus_wired/frames")


def recorded(address: int, *names: str) -> MbusSlave:
    frames = [decode_frame(octets(FRAMES / f"{name}.hex")) for name in names]
    told = tuple(bytes((frame.ci or 0,)) + frame.data for frame in frames)
    return MbusSlave(address, Identity.from_bytes(frames[0].data[:8]), lambda: told)


def test_the_frames_are_those_of_the_documents() -> None:
    slave = recorded(1, "oms_frame2")
    sent: list[bytes] = []
    converse(read_telegrams(Address.of("1"), TIMING), [slave], sent)
    assert [request.hex(" ").upper() for request in sent] == ["10 40 01 41 16", "10 7B 01 7C 16"]
    sent.clear()
    converse(read_telegrams(Address.of("92752244"), TIMING), [slave], sent)
    assert [request.hex(" ").upper() for request in sent] == [
        "68 0B 0B 68 53 FD 52 44 22 75 92 FF FF FF FF 0B 16",
        "10 7B FD 78 16",
    ]


def test_recorded_octets_come_back_as_they_were() -> None:
    slave = recorded(0xFD, "oms_frame2")
    assert slave.receive(bytes.fromhex("10 40 FD 3D 16")) == b"\xe5"
    slave = recorded(8, "EDC")
    assert slave.receive(bytes.fromhex("10 7B 08 83 16"))[6:-2] == octets(FRAMES / "EDC.hex")[6:-2]


def test_all_telegrams_of_a_meter_are_read_and_a_repeat_ends_it() -> None:
    more = recorded(5, "abb_delta", "els_falcon")
    telegrams = converse(read_telegrams(Address.of("5"), TIMING), [more])
    assert [t.header.identity.number for t in telegrams if t.header.identity] == ["78563412", "70112345"]
    endless = recorded(5, "abb_delta")
    assert len(converse(read_telegrams(Address.of("5"), TIMING), [endless])) == 1


def test_a_lost_answer_is_repeated_and_no_telegram_is_skipped() -> None:
    slave = recorded(5, "abb_delta", "els_falcon")
    slave.receive(bytes.fromhex("10 40 05 45 16"))
    first = slave.receive(bytes.fromhex("10 7B 05 80 16"))
    assert slave.receive(bytes.fromhex("10 7B 05 80 16")) == first
    assert slave.receive(bytes.fromhex("10 5B 05 60 16")) != first


def test_a_late_answer_of_another_meter_is_not_taken() -> None:
    other, own = recorded(7, "EDC"), recorded(5, "els_falcon")
    late = other.receive(bytes.fromhex("10 7B 07 82 16"))
    conversation = read_telegrams(Address.of("5"), TIMING)
    next(conversation)
    exchange = conversation.send(b"\xe5")
    assert exchange.find_answer(late) is None
    answer = own.receive(exchange.request)
    found = exchange.find_answer(late + answer)
    assert found is not None
    assert (late + answer)[found.start : found.end] == answer


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("92752244", ["92752244"]),
        ("9275FFFF", ["92752244"]),
        ("FFFFFFFF2324FFFF", ["92752244"]),
        ("FFFFFFFFFFFFFF02", ["78563412"]),
        ("11111111", []),
    ],
)
def test_a_selection_means_whom_it_matches(text: str, names: list[str]) -> None:
    slaves = [recorded(1, "oms_frame2"), recorded(2, "abb_delta"), recorded(3, "EDC")]
    conversation = read_telegrams(Address.of(text), TIMING)
    if not names:
        with pytest.raises(LinkDown):
            converse(conversation, slaves)
        return
    telegrams = converse(conversation, slaves)
    assert [t.header.identity.number for t in telegrams if t.header.identity] == names


@pytest.mark.parametrize("text", ["", "251", "1234567", "12345678ZZ", "123456789012345G", "-1"])
def test_an_address_that_is_none_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ConfigError, match="primary address"):
        Address.of(text)


def search(slaves: list[MbusSlave]) -> tuple[Search, int]:
    tree, probes = Search(), 0
    while (digits := tree.next_digits()) is not None:
        probes += 1
        try:
            tree.tell(converse(probe_selection(digits), slaves))
        except LinkDown:
            tree.tell(Probed(Seen.NOBODY))
    return tree, probes


def test_the_wildcard_search_finds_everybody_through_collisions() -> None:
    names = ["EDC", "oms_frame2", "abb_delta", "itron_cf_55", "REL-Relay-Padpuls2", "ACW_Itron-BM-plus-m"]
    tree, probes = search([recorded(n, name) for n, name in enumerate(names, 1)])
    found = {identity.number for identity in tree.found}
    assert found == {"11120895", "92752244", "78563412", "11127667", "11216301", "11490378"}
    assert not tree.twins
    assert probes < 1 + 10 * 8


def test_meters_of_one_number_are_reported_as_twins_and_the_search_ends() -> None:
    tree, _ = search([recorded(1, "frame2"), recorded(2, "EDC"), recorded(3, "frame2")])
    slaves = [MbusSlave(1, Identity("12345678", "AAA", 1, 2), lambda: (b"\x78\x01\x13\x05",)), recorded(2, "frame2")]
    tree, _ = search(slaves)
    assert (tree.found, tree.twins) == ([], ["12345678"])


def test_an_empty_bus_costs_one_probe() -> None:
    assert search([])[1] == 1


def test_a_primary_address_tells_who_is_there() -> None:
    slaves = [recorded(1, "oms_frame2")]
    assert converse(probe_primary(1), slaves).identity == Identity("92752244", "HYD", 41, 7)
    with pytest.raises(LinkDown):
        converse(probe_primary(2), slaves)
    both = [recorded(4, "oms_frame2"), recorded(4, "EDC")]
    assert converse(probe_primary(4), both).seen is Seen.SEVERAL


def test_a_meter_takes_another_speed() -> None:
    slave = recorded(1, "oms_frame2")
    converse(change_baud(Address.of("1"), 9_600, TIMING), [slave])
    assert slave.baud == 9_600
    with pytest.raises(ValueError, match="M-Bus knows"):
        next(change_baud(Address.of("1"), 1_000, TIMING))


def driver_port(address: str, **values: object) -> MbusPort:
    port = DRIVER.make_port(settings_from(DRIVER, {"address": address, **values}))
    assert isinstance(port, MbusPort)
    return port


def test_a_recorded_meter_read_through_its_driver() -> None:
    slave, port = recorded(3, "svm_f22_telegram1"), driver_port("3")
    converse(port.open(), [slave])
    sent: list[bytes] = []
    assert converse(port.read_serial(), [slave], sent) == "01006089"
    readings = {BY_CODE[r.quantity].name: r.value for r in converse(port.read_instant(lambda: 77), [slave], sent)}
    assert readings["heat_energy_wh"] == 28_014_000
    assert converse(port.read_name_plate(), [slave], sent).maker == "SVM"
    assert len(sent) == 3, "one readout serves the whole poll"
    assert converse(port.read_clock(), [slave], sent) == 1_612_818_720_000  # 2021-02-08 21:12


def test_values_of_a_set_date_come_as_billing_readings() -> None:
    slave, port = recorded(3, "oms_frame2"), driver_port("3")
    year_end = 1_199_145_600_000
    readings = converse(port.read_billing(year_end, year_end + 1), [slave])
    assert [(BY_CODE[r.quantity].name, r.value, r.at_ms) for r in readings] == [("water_volume_l", 1_445_419, year_end)]
    assert converse(port.read_billing(0, year_end), [slave]) == ()


def test_a_simulated_home_on_m_bus_says_what_the_home_says() -> None:
    clock = ManualClock(1_760_000_000_000)
    house = HouseMeter(HouseSettings("40000001", 7), clock)
    slave = MbusSlave(9, house_identity(house, ELECTRICITY), house_telegrams(house, ELECTRICITY, utc_offset_min=0))
    port = driver_port("40000001")
    assert Capability.CLOCK in port.capabilities
    readings = {BY_CODE[r.quantity].name: r.value for r in converse(port.read_instant(clock.now_ms), [slave])}
    now = house.snapshot()
    assert readings["energy_import_wh"] == now.energy_import_wh
    assert readings["energy_export_wh"] == now.energy_export_wh
    assert readings["voltage_mv"] == now.voltage_mv
    assert readings["current_ma"] == now.current_ma
    assert converse(port.read_clock(), [slave]) == clock.now_ms() // 60_000 * 60_000
    house.close()


@pytest.mark.parametrize(("medium", "quantity"), [(WATER, "water_volume_l"), (HEAT, "heat_energy_wh")])
def test_one_home_is_also_a_water_and_a_heat_meter(medium: int, quantity: str) -> None:
    house = HouseMeter(HouseSettings("40000002", 7), ManualClock(1_760_000_000_000))
    slave = MbusSlave(9, house_identity(house, medium), house_telegrams(house, medium))
    readings = {BY_CODE[r.quantity].name: r.value for r in converse(driver_port("9").read_instant(lambda: 0), [slave])}
    assert readings[quantity] > 0
    house.close()


def test_the_simulator_writes_a_date_as_the_standard_does() -> None:
    assert date_time_octets(1_341_933_900_000).hex(" ").upper() == "19 0F 8A 17"  # of the recorded EDC.hex


def test_the_simulator_finds_requests_in_noise() -> None:
    slave = recorded(1, "oms_frame2")
    noise = bytes.fromhex("68 68 10 00 E5 16 68 03 03")
    assert slave.receive(noise + bytes.fromhex("10 40 01")) == b""
    assert slave.receive(bytes.fromhex("41 16") + b"\x00" * 5) == ACKNOWLEDGED.to_bytes()
    assert slave.receive(bytes.fromhex("10 40 FF 3F 16")) == b""


def test_frames_that_can_not_be_are_refused() -> None:
    assert frame_length(b"\x55") == 0
    with pytest.raises(ValueError, match="252"):
        Frame(8, 1, 0x72, bytes(300)).to_bytes()
    for octets_ in (b"", b"\x68\x03\x03\x68\x08\x01\x72\x7b\x17", b"\x10\x40\x01\x42\x16"):
        with pytest.raises(MeterFault):
            decode_frame(octets_)
