"""Wireless M-Bus against published examples, and the simulated meter against the same."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gridtally_edge.drivers.driver import settings_from
from gridtally_edge.drivers.wmbus import DRIVER, WmbusSettings, hears
from gridtally_edge.protocols.mbus.compact import Formats
from gridtally_edge.protocols.mbus.fields import Moment
from gridtally_edge.protocols.wmbus.link import length_in_a, read_frame
from gridtally_edge.protocols.wmbus.telegram import RadioTelegram, Security, open_telegram
from gridtally_edge.registry import MeterEntry
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.mbus import ELECTRICITY, WATER
from gridtally_edge.simulators.wmbus import (
    Cipher,
    WmbusSender,
    frame_of,
    in_format_a,
    in_format_b,
    mode_5_body,
    mode_7_body,
    session_body,
)
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import ConfigError, MeterFault
from gridtally_shared.quantities import BY_CODE
from support.radio_telegrams import (
    ADAPTER_B,
    FORMAT_B,
    KAMSTRUP_CIPHERED,
    KAMSTRUP_COMPACT,
    KAMSTRUP_FULL,
    KEY_A,
    KEY_B,
    KEY_KAMSTRUP,
    PARTIAL,
    PROFILE_A,
    PROFILE_B,
    WITHOUT_CRC,
)


def opened(text: str, key: bytes | None = None, formats: Formats | None = None) -> RadioTelegram:
    return open_telegram(read_frame(bytes.fromhex(text)), key, formats)


def numbers(telegram: RadioTelegram) -> dict[str, Decimal | str | None]:
    return {r.name: r.value.text if isinstance(r.value, Moment) else r.number for r in telegram.contents.records}


@pytest.mark.parametrize(
    ("text", "key", "mode", "security"),
    [
        (PROFILE_A, KEY_A, 5, Security.CIPHERED),
        (PROFILE_B, KEY_B, 7, Security.AUTHENTIC),
        (ADAPTER_B, KEY_B, 7, Security.AUTHENTIC),
    ],
)
def test_the_gas_meter_of_the_oms_examples(text: str, key: bytes, mode: int, security: Security) -> None:
    telegram = opened(text, key)
    assert (telegram.identity.maker, telegram.identity.number, telegram.identity.medium) == ("ELS", "12345678", 3)
    assert (telegram.mode, telegram.security) == (mode, security)
    assert numbers(telegram) == {"Volume": Decimal("28504.27"), "Time point": "2008-05-31T23:50:00", "Error flags": Decimal(0)}


def test_a_telegram_ciphered_in_part() -> None:
    telegram = opened(PARTIAL, KEY_B)
    assert telegram.contents.records[0].number == Decimal(1234)
    assert telegram.contents.records[-1].number == Decimal(12345678)


@pytest.mark.parametrize(("text", "has_crc"), [(FORMAT_B, True), (WITHOUT_CRC, False)])
def test_format_b_with_and_without_its_crc(text: str, has_crc: bool) -> None:
    assert read_frame(bytes.fromhex(text)).has_crc is has_crc
    assert numbers(opened(text)) == {"Volume": Decimal("876.543")}


def test_a_ciphered_extended_link_layer_that_a_repeater_sent_again() -> None:
    telegram = opened(KAMSTRUP_CIPHERED, KEY_KAMSTRUP)
    assert telegram.security is Security.CIPHERED
    assert [str(r.number) for r in telegram.contents.records][1:] == ["474.240", "473.247"]


def test_compact_frames_of_a_real_meter() -> None:
    formats = Formats()
    with pytest.raises(MeterFault, match="no full frame"):
        opened(KAMSTRUP_COMPACT, formats=formats)
    full = opened(KAMSTRUP_FULL, formats=formats)
    compact = opened(KAMSTRUP_COMPACT, formats=formats)
    assert [r.number for r in compact.contents.records] == [r.number for r in full.contents.records]
    assert compact.access != full.access


@pytest.mark.parametrize(("text", "key"), [(PROFILE_A, KEY_A), (PROFILE_B, KEY_B), (KAMSTRUP_CIPHERED, KEY_KAMSTRUP)])
def test_without_the_right_key_there_is_no_value(text: str, key: bytes) -> None:
    with pytest.raises(MeterFault, match="give the meter's key"):
        opened(text)
    with pytest.raises(MeterFault, match="key does not fit"):
        opened(text, bytes(16))
    assert opened(text, key).contents.records


@pytest.mark.parametrize(("text", "key"), [(PROFILE_A, KEY_A), (PROFILE_B, KEY_B), (ADAPTER_B, KEY_B)])
def test_any_flipped_bit_gives_no_value(text: str, key: bytes) -> None:
    sound = bytes.fromhex(text)
    for bit in range(8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MeterFault):
            open_telegram(read_frame(bytes(damaged)), key)


def test_a_flipped_bit_in_format_b_leaves_nothing_proved() -> None:
    sound = bytes.fromhex(FORMAT_B)
    for bit in range(8, 8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not read_frame(bytes(damaged)).has_crc  # as long as a frame whose CRC was stripped: it may be one


def test_without_crc_the_authentication_still_finds_every_change() -> None:
    plain = read_frame(bytes.fromhex(PROFILE_B))
    sound = frame_of(plain.address, plain.body)
    assert open_telegram(read_frame(sound), KEY_B).security is Security.AUTHENTIC
    for bit in range(8 * 13, 8 * len(sound)):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            telegram = open_telegram(read_frame(bytes(damaged)), KEY_B)
        except MeterFault:
            continue
        assert bit // 8 in (15, 16), "only the fragment's number and spare bits are not covered"
        assert telegram.contents.records[0].number == Decimal("28504.27")


GAS = bytes.fromhex("9315785634123303")
GAS_RECORDS = bytes.fromhex("0C1427048502046D32371F1502FD170000")


def test_the_simulator_writes_the_published_frames_octet_for_octet() -> None:
    body = mode_5_body(GAS, KEY_A, 0x2A, GAS_RECORDS, flags=0x2000)
    assert in_format_a(frame_of(GAS, body)).hex().upper() == PROFILE_A
    sealed = mode_7_body(GAS, KEY_B, 0x75, bytes.fromhex("B30A0000"), GAS_RECORDS)
    assert in_format_a(frame_of(GAS, b"\x8c\x20\x75" + sealed)).hex().upper() == PROFILE_B
    plain = read_frame(bytes.fromhex(FORMAT_B))
    assert in_format_b(frame_of(plain.address, plain.body)).hex().upper() == FORMAT_B
    kamstrup = read_frame(bytes.fromhex(KAMSTRUP_CIPHERED))
    records = bytes.fromhex("02FF2000000413803C070044139F380700")
    again = session_body(kamstrup.address, KEY_KAMSTRUP, 0x50, kamstrup.body[3:7], records)
    assert again[7:] == kamstrup.body[7:]


@pytest.mark.parametrize("size", [2, 100, 115, 116, 117, 200])
def test_long_frames_in_both_formats(size: int) -> None:
    frame = frame_of(GAS, bytes((0x78,)) + bytes(size))
    for on_air in (in_format_a(frame), in_format_b(frame), frame):
        found = read_frame(on_air)
        assert (found.address, found.body) == (GAS, frame[10:])
    assert len(in_format_a(frame)) == length_in_a(frame[0])


@pytest.mark.parametrize(
    "text",
    ["", "0A", "094493157856341233", "FF" * 11, "0B4493157856341233037A2A", "0A449315785634123303A2", "0F44931578563412330390FF0000"],
)
def test_frames_cut_short_or_unknown_are_faults(text: str) -> None:
    with pytest.raises(MeterFault):
        opened(text)


@pytest.mark.parametrize("cipher", list(Cipher))
def test_a_simulated_home_heard_through_its_driver(cipher: Cipher) -> None:
    clock = ManualClock(1_760_000_000_000)
    house = HouseMeter(HouseSettings("60000001", 7), clock)
    sender = WmbusSender(house, ELECTRICITY, cipher)
    key = sender.key.hex() if cipher is not Cipher.PLAIN else ""
    settings = settings_from(DRIVER, {"meter": "60000001", "key": key})
    pushed = hears(settings, sender.telegram(), clock.now_ms())
    assert pushed is not None
    values = {BY_CODE[r.quantity].name: r.value for r in pushed.readings}
    now = house.snapshot()
    assert (pushed.serial, values["energy_import_wh"], values["power_w"]) == ("60000001", now.energy_import_wh, now.power_w)
    assert pushed.clock_ms == clock.now_ms() // 60_000 * 60_000
    assert hears(settings_from(DRIVER, {"meter": "60000002", "key": key}), sender.telegram(), 0) is None
    house.close()


def test_a_plain_telegram_in_the_name_of_a_meter_with_a_key_is_not_taken() -> None:
    house = HouseMeter(HouseSettings("60000003", 7), ManualClock(1_760_000_000_000))
    forged = WmbusSender(house, WATER, Cipher.PLAIN).telegram()
    with pytest.raises(MeterFault, match="not ciphered"):
        hears(WmbusSettings("60000003", bytes(range(16))), forged, 0)
    house.close()


def test_a_meter_behind_a_radio_adapter_is_known_by_its_own_number() -> None:
    pushed = hears(WmbusSettings("12345678", KEY_B), bytes.fromhex(ADAPTER_B), 5)
    assert pushed is not None
    assert [(BY_CODE[r.quantity].name, r.value) for r in pushed.readings] == [("gas_volume_l", 28_504_270)]
    assert hears(WmbusSettings("11223344", KEY_B), bytes.fromhex(ADAPTER_B), 5) is None


@pytest.mark.parametrize("values", [{"meter": "123"}, {"meter": "12345678", "key": "00"}, {"meter": "12345678", "commodity": "beer"}])
def test_settings_that_can_not_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        DRIVER.make_port(settings_from(DRIVER, values))
    assert "00" not in str(refused.value) or "key" not in values


def test_settings_do_not_show_their_keys_and_a_radio_meter_is_named_by_its_number() -> None:
    settings = settings_from(DRIVER, {"meter": "12345678", "key": KEY_B.hex()})
    assert KEY_B.hex() not in repr(settings)
    assert repr(KEY_B) not in repr(settings)
    assert MeterEntry("air", "wmbus", {"meter": "12345678", "key": KEY_B.hex()}).key == "air/12345678"
