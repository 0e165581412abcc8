"""`gridtally decode` on wired M-Bus, wireless M-Bus and IEC 62056-21."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.protocols.explain import explain_dlms
from gridtally_edge.protocols.iec62056_21.characters import framed
from gridtally_edge.protocols.iec62056_21.explain import explain_iec62056_21
from gridtally_edge.protocols.mbus.explain import explain_mbus
from gridtally_edge.protocols.modbus_explain import explain_modbus
from gridtally_edge.protocols.wmbus.explain import explain_wmbus
from gridtally_edge.simulators import wmbus
from gridtally_shared.explain import Explanation, Keys
from support.data import data_path
from support.mbus_frames import bad_frames, frames, octets
from support.radio_telegrams import ADAPTER_B, FORMAT_B, KAMSTRUP_FULL, KEY_A, KEY_B, PROFILE_A, PROFILE_B

P1 = json.loads(data_path("iec62056_21/p1_d0_telegrams.json").read_text())
OURS = (explain_mbus, explain_wmbus, explain_iec62056_21)


def told(explanation: Explanation | None) -> Explanation:
    assert explanation is not None
    return explanation


def test_every_recorded_frame_is_proved_and_nobody_elses() -> None:
    for path in frames():
        explanation = told(explain_mbus(octets(path), Keys()))
        assert explanation.proved
        assert explanation.readings
        assert explain_iec62056_21(octets(path), Keys()) is None or not told(explain_iec62056_21(octets(path), Keys())).proved


def test_a_frame_in_words() -> None:
    path = data_path("mbus_wired/frames/oms_frame2.hex")
    explanation = told(explain_mbus(bytes.fromhex("10 7B FD 78 16") + octets(path), Keys()))
    assert explanation.title == "M-Bus, 2 frames: address 253 answers"
    assert explanation.lines[0] == "the master asks for data, address 253"
    assert "  HYD 92752244, version 41, water, access number 31" in explanation.lines
    values = {reading.obis: (reading.value, reading.unit) for reading in explanation.readings}
    assert values["Volume"] == (Decimal("2850.427"), "m3")
    assert values["Volume, storage 1"] == (Decimal("1445.419"), "m3")
    assert values["Time point, storage 1"] == ("2007-12-31", "")


def test_what_the_meter_refuses_is_a_fault_in_words() -> None:
    faults = {path.stem: told(explain_mbus(octets(path), Keys())).faults for path in bad_frames()}
    assert "application busy" in faults["application_busy"][0]
    assert all(faults.values())


def test_a_damaged_frame_has_a_fault_and_no_reading() -> None:
    frame = bytearray(octets(frames()[0]))
    frame[30] ^= 1
    explanation = told(explain_mbus(bytes(frame), Keys()))
    assert (explanation.readings, len(explanation.faults), explanation.proved) == ((), 1, False)


def test_dlms_in_m_bus_frames_stays_with_dlms() -> None:
    cases = json.loads(data_path("dlms/push_real_meters.json").read_text())["cases"]
    carried = [bytes.fromhex(case["raw_hex"]) for case in cases if case["raw_hex"].startswith("68")]
    assert carried
    for data in carried:
        assert explain_mbus(data, Keys()) is None
        assert explain_dlms(data, Keys()) is not None


@pytest.mark.parametrize(("text", "key"), [(PROFILE_A, KEY_A), (PROFILE_B, KEY_B), (ADAPTER_B, KEY_B)])
def test_a_ciphered_radio_telegram_asks_for_its_key_and_opens_with_it(text: str, key: bytes) -> None:
    locked = told(explain_wmbus(bytes.fromhex(text), Keys()))
    assert "give the meter's key" in locked.faults[0]
    assert locked.readings == ()
    opened = told(explain_wmbus(bytes.fromhex(text), Keys(key)))
    assert opened.proved
    assert opened.readings[0].value == Decimal("28504.27")
    assert not opened.faults


def test_a_plain_radio_telegram_without_crc_is_shown_and_not_proved() -> None:
    assert told(explain_wmbus(bytes.fromhex(FORMAT_B), Keys())).proved
    assert not told(explain_wmbus(bytes.fromhex(KAMSTRUP_FULL), Keys())).proved


@pytest.mark.parametrize("receiver", ["im871a", "amb8465", "rtl-wmbus"])
def test_a_receivers_framing_is_taken_off(receiver: str) -> None:
    frame = bytes.fromhex(KAMSTRUP_FULL)
    explanation = told(explain_wmbus(wmbus.framed(receiver, frame).rstrip(b"\n"), Keys()))
    assert "framing" in explanation.lines[0]
    assert explanation.readings == told(explain_wmbus(frame, Keys())).readings


def test_a_radio_frame_damaged_on_the_air() -> None:
    damaged = bytearray(bytes.fromhex(PROFILE_A))
    damaged[40] ^= 8
    explanation = told(explain_wmbus(bytes(damaged), Keys(KEY_A)))
    assert explanation.readings == ()
    assert "CRC" in explanation.faults[0]


@pytest.mark.parametrize("telegram", P1, ids=lambda t: t["id"])
def test_p1_telegrams_are_shown_with_what_proves_them(telegram: dict[str, object]) -> None:
    explanation = told(explain_iec62056_21(str(telegram["telegram"]).encode("latin-1"), Keys()))
    if telegram.get("crc_valid") is False:
        assert (explanation.readings, bool(explanation.faults)) == ((), True)
    else:
        assert explanation.readings
        assert explanation.proved is bool(telegram.get("crc_valid"))


def test_blocks_and_commands_in_words() -> None:
    readout = told(explain_iec62056_21(b"/LGZ4ZMR120\r\n" + framed(b"\x021.8.0(000123.4*kWh)\r\n!\r\n"), Keys()))
    assert readout.proved
    assert readout.lines == ("  LGZ meter ZMR120 (mode C, 4800 baud)",)
    assert [(r.obis, r.value, r.unit) for r in readout.readings] == [("1.8.0", Decimal("123.4"), "kWh")]
    password = told(explain_iec62056_21(framed(b"\x01P1\x02(00000000)"), Keys()))
    assert password.title == "P1, password"
    assert "R5, read: 1.8.0()" in told(explain_iec62056_21(framed(b"\x01R5\x021.8.0()"), Keys())).title


def test_other_protocols_are_left_to_their_decoders() -> None:
    cases = json.loads(data_path("dlms/push_real_meters.json").read_text())["cases"]
    hdlc = next(bytes.fromhex(case["raw_hex"]) for case in cases if case["raw_hex"].startswith("7e"))
    modbus = bytes.fromhex("01040000000271cb 010404436633341b38")
    assert told(explain_modbus(modbus, Keys())).proved
    for decoder in OURS:
        assert decoder(modbus, Keys()) is None
        assert decoder(hdlc, Keys()) is None


@pytest.mark.parametrize("decoder", OURS)
@given(data=st.binary(max_size=200))
def test_any_octets_are_explained_or_left_alone(decoder: object, data: bytes) -> None:
    assert callable(decoder)
    explanation = decoder(data, Keys(KEY_B))
    assert explanation is None or isinstance(explanation, Explanation)
