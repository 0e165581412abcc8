"""Telegrams and blocks against recorded and published ones: every value, and none from a damaged one."""

from __future__ import annotations

import json
import random
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from gridtally_edge.drivers.iec62056_21 import intervals_of
from gridtally_edge.drivers.model import Pushed
from gridtally_edge.drivers.p1 import P1Settings, hears
from gridtally_edge.protocols.iec62056_21.characters import framed, seven_bits, with_parity
from gridtally_edge.protocols.iec62056_21.datasets import Cell, obis_of, read_data_sets
from gridtally_edge.protocols.iec62056_21.messages import (
    BREAK,
    Mode,
    Option,
    acknowledgement,
    crc16_p1,
    find_telegram,
    read_block,
    read_identification,
    read_reply,
    read_telegram,
)
from gridtally_edge.protocols.iec62056_21.p1 import equipment, split
from gridtally_edge.protocols.iec62056_21.profile import read_log_book, read_profile, stamp_ms
from gridtally_shared.errors import MeterFault
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_CODE
from support.data import data_path

TELEGRAMS: list[dict[str, Any]] = json.loads(data_path("iec62056_21/p1_d0_telegrams.json").read_text())
SOUND = [t for t in TELEGRAMS if t.get("crc_valid") is not False]
VECTORS = json.loads(data_path("iec62056_21/bcc_vectors.json").read_text())["vectors"]

OBIS_OF = {
    "P1_MESSAGE_HEADER": "1-3:0.2.8",
    "EQUIPMENT_IDENTIFIER": "0-0:96.1.1",
    "ELECTRICITY_USED_TARIFF_1": "1-0:1.8.1",
    "ELECTRICITY_USED_TARIFF_2": "1-0:1.8.2",
    "ELECTRICITY_DELIVERED_TARIFF_1": "1-0:2.8.1",
    "ELECTRICITY_DELIVERED_TARIFF_2": "1-0:2.8.2",
    "ELECTRICITY_ACTIVE_TARIFF": "0-0:96.14.0",
    "CURRENT_ELECTRICITY_USAGE": "1-0:1.7.0",
    "CURRENT_ELECTRICITY_DELIVERY": "1-0:2.7.0",
    "ACTUAL_TRESHOLD_ELECTRICITY": "0-0:17.0.0",
    "ACTUAL_SWITCH_POSITION": "0-0:96.3.10",
    "SHORT_POWER_FAILURE_COUNT": "0-0:96.7.21",
    "LONG_POWER_FAILURE_COUNT": "0-0:96.7.9",
    "INSTANTANEOUS_VOLTAGE_L1": "1-0:32.7.0",
    "INSTANTANEOUS_VOLTAGE_L2": "1-0:52.7.0",
    "INSTANTANEOUS_VOLTAGE_L3": "1-0:72.7.0",
    "INSTANTANEOUS_CURRENT_L1": "1-0:31.7.0",
    "INSTANTANEOUS_CURRENT_L2": "1-0:51.7.0",
    "INSTANTANEOUS_CURRENT_L3": "1-0:71.7.0",
    "INSTANTANEOUS_ACTIVE_POWER_L1_POSITIVE": "1-0:21.7.0",
    "INSTANTANEOUS_ACTIVE_POWER_L2_POSITIVE": "1-0:41.7.0",
    "INSTANTANEOUS_ACTIVE_POWER_L3_POSITIVE": "1-0:61.7.0",
    "INSTANTANEOUS_ACTIVE_POWER_L1_NEGATIVE": "1-0:22.7.0",
    "INSTANTANEOUS_ACTIVE_POWER_L2_NEGATIVE": "1-0:42.7.0",
    "INSTANTANEOUS_ACTIVE_POWER_L3_NEGATIVE": "1-0:62.7.0",
    "VOLTAGE_SAG_L1_COUNT": "1-0:32.32.0",
    "VOLTAGE_SWELL_L1_COUNT": "1-0:32.36.0",
    "FUSE_THRESHOLD_L1": "1-0:31.4.0",
    "BELGIUM_CURRENT_AVERAGE_DEMAND": "1-0:1.4.0",
    "BELGIUM_VERSION_INFORMATION": "0-0:96.1.4",
    "BELGIUM_EQUIPMENT_IDENTIFIER": "0-0:96.1.1",
    "ELECTRICITY_IMPORTED_TOTAL": "1-0:1.8.0*255",
    "ELECTRICITY_EXPORTED_TOTAL": "1-0:2.8.0*255",
    "Q3D_EQUIPMENT_IDENTIFIER": "1-0:0.0.0*255",
    "Q3D_EQUIPMENT_STATE": "1-0:96.5.5*255",
    "Q3D_EQUIPMENT_SERIALNUMBER": "0-0:96.1.255*255",
}
NAMED = [t for t in SOUND if t["id"].startswith("dsmr_parser") and t["expected"]]


def octets(telegram: dict[str, Any]) -> bytes:
    return str(telegram["telegram"]).encode("latin-1")


@pytest.mark.parametrize("telegram", NAMED, ids=lambda t: t["id"].rpartition("/")[2])
def test_every_value_is_what_another_reader_makes_of_it(telegram: dict[str, Any]) -> None:
    cells = {s.address.removesuffix("*255"): s.first for s in read_telegram(octets(telegram)).data_sets}
    checked = 0
    for name, wanted in telegram["expected"].items():
        if name in OBIS_OF and wanted["value"] is not None:
            assert _same(cells[OBIS_OF[name].removesuffix("*255")], wanted), name
            checked += 1
    assert checked >= 8


def _same(cell: Cell, wanted: dict[str, Any]) -> bool:
    if isinstance(wanted["value"], str):
        return cell.value == wanted["value"]
    return cell.number == Decimal(str(wanted["value"])) and cell.unit == (wanted["unit"] or "")


@pytest.mark.parametrize("telegram", NAMED[:4], ids=lambda t: t["id"].rpartition("/")[2])
def test_meters_behind_the_meter_are_meters_of_their_own(telegram: dict[str, Any]) -> None:
    for device in telegram["expected"]["MBUS_DEVICES"]:
        pushed = hears(P1Settings(device["CHANNEL_ID"]), octets(telegram), 7)
        value = next((v for k, v in device.items() if k.endswith("METER_READING")), None)
        if value is None:
            assert pushed is None
            continue
        assert pushed is not None
        assert pushed.clock_ms == int(datetime.fromisoformat(value["datetime"]).timestamp() * 1_000)
        assert [r.value for r in pushed.readings] == [round(value["value"] * 1_000)]
        assert pushed.readings[0].at_ms == pushed.clock_ms


def _values(pushed: Pushed | None) -> dict[str, int]:
    return {BY_CODE[r.quantity].name: r.value for r in pushed.readings} if pushed else {}


def test_a_telegram_of_amshan_says_what_amshan_says() -> None:
    telegram = next(t for t in TELEGRAMS if t["id"].startswith("amshan"))
    wanted = telegram["expected"]
    values = _values(hears(P1Settings(), octets(telegram), 7))
    assert values["energy_import_rate1_wh"] == wanted["1.8.1"]
    assert values["energy_import_wh"] == wanted["1.8.1"] + wanted["1.8.2"]
    assert values["power_w"] == wanted["active_power_import"]
    assert values["power_l2_w"] == wanted["active_power_import_l2"]
    assert read_telegram(octets(telegram)).identification.maker == wanted["meter_manufacturer_id"]


@pytest.mark.parametrize("telegram", [t for t in TELEGRAMS if t["crc16"]], ids=lambda t: t["id"].rpartition("/")[2])
def test_the_crc_is_computed_as_others_do(telegram: dict[str, Any]) -> None:
    content = octets(telegram).partition(b"!")[0] + b"!"
    assert f"{crc16_p1(content):04X}" == telegram["crc16"]["computed"]


def test_the_example_with_a_wrong_crc_is_refused() -> None:
    wrong = next(t for t in TELEGRAMS if t.get("crc_valid") is False)
    with pytest.raises(MeterFault, match="CRC"):
        read_telegram(octets(wrong))
    assert find_telegram(octets(wrong)) is None
    with pytest.raises(MeterFault, match="CRC"):
        hears(P1Settings(), octets(wrong), 0)


def test_any_flipped_bit_gives_no_value() -> None:
    sound = octets(next(t for t in TELEGRAMS if t["id"].endswith("TELEGRAM_V5")))
    for bit in range(0, 8 * len(sound), 3):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        found = find_telegram(bytes(damaged))
        if found is not None:
            kept = seven_bits(bytes(damaged))[found.start : found.end]
            assert kept == sound, f"bit {bit}"


def test_telegrams_are_found_in_pieces_and_noise() -> None:
    chance = random.Random(3)
    for telegram in SOUND:
        sound = octets(telegram)
        whole = find_telegram(sound)
        assert whole is not None
        noise = chance.randbytes(40).replace(b"/", b"x").replace(b"!", b"x") + sound[len(sound) // 2 :] + b"\r\n"
        line = noise + sound
        found = find_telegram(line)
        assert found is not None
        assert seven_bits(line)[found.start : found.end] == seven_bits(sound[whole.start : whole.end])
        assert find_telegram(sound[: whole.end - 1]) is None


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["meaning"][:12])
def test_block_check_characters_of_published_messages(vector: dict[str, str]) -> None:
    message = bytes.fromhex(vector["hex"])
    assert framed(message[:-2]) == message
    assert message[-1] == int(vector["bcc"], 16)
    assert read_reply(message).command in ("W2", "P0")
    with pytest.raises(MeterFault):
        read_reply(message[:-1] + bytes((message[-1] ^ 1,)))


def test_messages_are_those_of_the_standard() -> None:
    assert bytes.fromhex("01 42 30 03 71") == BREAK
    assert acknowledgement("5", Option.READOUT) == b"\x06050\r\n"
    assert acknowledgement("5", Option.BINARY) == b"\x06252\r\n"
    with pytest.raises(MeterFault):
        read_block(b"\x021.8.0(1*kWh)\r\n!\r\n\x03\x00")


@pytest.mark.parametrize(
    ("line", "mode", "baud", "quick"),
    [
        (b"/ABCx METER\r\n", Mode.A, 300, False),
        (b"/ABcE METER\r\n", Mode.B, 9_600, True),
        (b"/LGZ4ZMR120AR.M26\r\n", Mode.C, 4_800, False),
        (b"/LGZ5\\2ZMD3104100.B32\r\n", Mode.E, 9_600, False),
        (b"/GRX512345678\r\n", Mode.C, 9_600, False),
    ],
)
def test_an_identification_tells_mode_and_speed(line: bytes, mode: Mode, baud: int, quick: bool) -> None:
    identification = read_identification(with_parity(line))
    assert (identification.mode, identification.baud, identification.is_quick) == (mode, baud, quick)


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("1-0:1.8.0*255", "1.0.1.8.0.255"),
        ("1.8.0", "1.0.1.8.0.255"),
        ("1.8.0*01", "1.0.1.8.0.1"),
        ("1.6.1&12", "1.0.1.6.1.12"),
        ("C.1.0", "1.0.96.1.0.255"),
        ("F.F", None),
        ("P.01", "1.0.99.1.0.255"),
        ("0-1:24.2.1", "0.1.24.2.1.255"),
        ("", None),
        ("999.8.0", None),
        ("1.8.0.0.0.0.0", None),
    ],
)
def test_addresses_become_obis_codes(address: str, code: str | None) -> None:
    found = obis_of(address)
    assert (str(found) if found else None) == code


def test_a_value_that_is_no_number_is_none() -> None:
    assert [Cell(text).number for text in ("--.--", "", "NaN", "1e5", "Infinity", "0x10")] == [None] * 6
    assert Cell("000123.40").number == Decimal("123.40")


PROFILE = (
    "P.01(0010406120000)(08)(15)(2)(1.5)(kW)(2.5)(kW)\r\n(0.400)(0.000)\r\n(1.200)(----)\r\n"
    "P.01(1010701000000)(20)(15)(1)(1.29)(kWh)\r\n(0.250)\r\n"
)


def test_a_load_profile_in_text_gives_energy_of_each_period() -> None:
    rows = read_profile(read_data_sets(PROFILE), 60)
    readings = [r for row in rows for r in intervals_of(row)]
    noon_ms = 986_554_800_000  # 2001-04-06 12:00 of standard time in Europe is 11:00 UTC
    assert [(BY_CODE[r.quantity].name, r.at_ms, r.value, Quality(r.quality)) for r in readings] == [
        ("interval_import_wh", noon_ms - 900_000, 100, Quality.OK),
        ("interval_export_wh", noon_ms - 900_000, 0, Quality.OK),
        ("interval_import_wh", noon_ms, 300, Quality.OK),
        ("interval_export_wh", noon_ms, 0, Quality.METER_INVALID),
        ("interval_import_wh", 993_938_400_000 - 900_000, 250, Quality.CLOCK_UNCERTAIN),
    ]


@pytest.mark.parametrize("text", ["P.01(0010406120000)", "P.01(001340612)(00)(15)(1)(1.5)(kW)", "P.01(0010406120000)(00)(0)(1)(1.5)(kW)"])
def test_a_profile_head_that_can_not_be_read_is_a_fault(text: str) -> None:
    with pytest.raises(MeterFault):
        read_profile(read_data_sets(text), 60)


def test_a_log_book_gives_moments_and_status() -> None:
    assert read_log_book(read_data_sets("P.98(0010406120000)(A0)()(0)\r\n"), 60) == ((986_554_800_000, 0xA0),)


@pytest.mark.parametrize("text", ["", "99", "2201321200", "220101120099", "X201011200", "22010112000S", "٢٢٠١٠١١٢٠٠"])
def test_a_time_that_is_none_is_a_fault(text: str) -> None:
    with pytest.raises(MeterFault):
        stamp_ms(text, 0)


def test_parity_is_checked_where_it_is_carried() -> None:
    text = b"/ABC5 X(12.3)\r\n"
    assert seven_bits(with_parity(text)) == text
    assert seven_bits(text) == text
    assert seven_bits(bytes((0x31 | 0x80,))) == b"1"
    assert seven_bits(bytes((0x30 | 0x80,))) == b"\0"


def test_each_meter_gets_a_telegram_of_its_own() -> None:
    belgian = next(t for t in TELEGRAMS if "FLUVIUS" in t["id"])
    pieces = split(octets(belgian))
    assert [piece.channel for piece in pieces] == [0, 1, 2]
    assert b"0-2:" not in pieces[1].telegram
    assert hears(P1Settings(1), pieces[0].telegram, 0) is None
    gas = hears(P1Settings(1), pieces[1].telegram, 0)
    assert gas is not None
    assert gas.serial == "7FLO2119033733"
    assert hears(P1Settings(0), pieces[1].telegram, 0) is None


def test_an_identifier_that_is_no_text_stays_in_digits() -> None:
    assert [equipment(s) for s in read_data_sets("0-0:96.1.1(3960221976967177)\n0-0:96.1.1(4B384547)\n")] == ["3960221976967177", "K8EG"]
