"""`gridtally decode` on recorded pushes of real meters: values, damage, keys, JSON and words."""

from __future__ import annotations

import json
from decimal import Decimal
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Frame, encode_frame
from gridtally_edge.protocols.dlms.services import Block, GetBlockResponse, GetNextRequest
from gridtally_edge.protocols.explain import explain_dlms
from gridtally_shared import cli
from gridtally_shared.explain import Explanation, Keys, json_text
from support.data import data_path

AIDON = "e6e7000f40000000000101020309060100010700ff060000011802020f00161b"
SINGLE_FRAME = "hdlc_norway_han_1phase"

HAN_NAMES = {
    "list_ver_id": ".2.129.", "active_power_import": ".1.7.0.", "active_power_export": ".2.7.0.",
    "reactive_power_import": ".3.7.0.", "reactive_power_export": ".4.7.0.", "current_l1": ".31.7.0.",
    "current_l2": ".51.7.0.", "current_l3": ".71.7.0.", "voltage_l1": ".32.7.0.", "voltage_l2": ".52.7.0.",
    "voltage_l3": ".72.7.0.", "active_power_import_total": ".1.8.0.", "active_power_export_total": ".2.8.0.",
    "reactive_power_import_total": ".3.8.0.", "reactive_power_export_total": ".4.8.0.",
}  # fmt: skip
IDENTITIES = {
    "Aidon": {"meter_id": "0.0.96.1.0.255", "meter_type": "0.0.96.1.7.255", "meter_datetime": "0.0.1.0.0.255"},
    "Kaifa": {"meter_id": "0.0.96.1.0.255", "meter_type": "0.0.96.1.7.255", "meter_datetime": "0.0.1.0.0.255"},
    "Kamstrup": {"meter_id": "1.1.0.0.5.255", "meter_type": "1.1.96.1.1.255", "meter_datetime": "0.0.1.0.0.255"},
}


def pushes() -> dict[str, dict]:
    cases = json.loads(data_path("dlms/push_real_meters.json").read_text())["cases"]
    return {case["name"]: case for case in cases}


def keys_of(case: dict) -> Keys:
    texts = (case["encryption_key_hex"], case["authentication_key_hex"])
    return Keys(*(bytes.fromhex(text) if text else None for text in texts))


def explained(case: dict) -> Explanation:
    found = explain_dlms(bytes.fromhex(case["raw_hex"]), keys_of(case))
    assert found is not None
    return found


def values(found: Explanation) -> dict[str, object]:
    return {reading.obis: reading.value for reading in found.readings}


SOUND = [
    "hdlc_iskra550", "hdlc_landis_gyr_e450", "hdlc_landis_gyr_e450_cyprus", SINGLE_FRAME, "mbus_netz_noe_p1",
    "raw_egd_example", "raw_salzburg_netz",
]  # fmt: skip


def test_every_recorded_push_is_named_here() -> None:
    assert set(pushes()) == {*SOUND, "hdlc_landis_gyr_zmf100"}


@pytest.mark.parametrize("name", SOUND)
def test_numbers_of_recorded_pushes(name: str) -> None:
    case = pushes()[name]
    found = values(explained(case))
    for obis, number in case["expected_number"].items():
        assert found[obis] == Decimal(str(number)), obis


@pytest.mark.parametrize("name", SOUND)
def test_texts_and_times_of_recorded_pushes(name: str) -> None:
    case = pushes()[name]
    found = values(explained(case))
    for obis, text in case["expected_text"].items():
        if not text:
            assert "printed empty" in case["quirk"]
        elif obis in ("0.0.0.0.0.0", "0.0.1.0.0.255"):
            assert str(found["0.0.1.0.0.255"])[:19] == text[:19].replace(" ", "T")
        else:
            assert found[obis] == text


@pytest.mark.parametrize("name", SOUND)
def test_no_object_of_a_recorded_push_is_missed(name: str) -> None:
    case = pushes()[name]
    own_time = 1 if name == "hdlc_iskra550" else 0
    assert len(explained(case).readings) == case["expected_object_count"] + own_time
    assert explained(case).faults == ()


def test_the_damaged_push_is_a_checksum_error_and_no_value() -> None:
    case = pushes()["hdlc_landis_gyr_zmf100"]
    found = explained(case)
    assert "expect a checksum error" in case["quirk"]
    assert found.readings == ()
    assert "checksum error: the frame check (FCS) is wrong" in found.faults[0]


def test_ciphered_pushes_are_verified_where_the_key_is_given() -> None:
    assert any("tag right" in line for line in explained(pushes()["hdlc_landis_gyr_e450"]).lines)
    assert any("not verified" in line for line in explained(pushes()["mbus_netz_noe_p1"]).lines)


@pytest.mark.parametrize("name", ["hdlc_landis_gyr_e450", "mbus_netz_noe_p1"])
def test_without_a_key_a_ciphered_push_asks_for_it(name: str) -> None:
    found = explain_dlms(bytes.fromhex(pushes()[name]["raw_hex"]), Keys())
    assert found is not None
    assert found.readings == ()
    assert any("--key" in line for line in found.lines)


def test_a_wrong_key_gives_no_value() -> None:
    case = pushes()["hdlc_landis_gyr_e450"]
    found = explain_dlms(bytes.fromhex(case["raw_hex"]), Keys(bytes(16), bytes(16)))
    assert found is not None
    assert (found.readings, "tag is wrong" in found.faults[0]) == ((), True)


@pytest.mark.parametrize("name", [SINGLE_FRAME, "hdlc_iskra550"])
def test_any_flipped_bit_yields_no_value(name: str) -> None:
    octets = bytes.fromhex(pushes()[name]["raw_hex"])
    for bit in range(len(octets) * 8):
        damaged = bytearray(octets)
        damaged[bit // 8] ^= 1 << bit % 8
        found = explain_dlms(bytes(damaged), Keys())
        assert found is None or found.readings == ()


def test_a_missing_segment_yields_no_value() -> None:
    octets = bytes.fromhex(pushes()["hdlc_iskra550"]["raw_hex"])
    first, second, third = ((p.start, p.end) for p in hdlc.scan(octets))
    for kept in ((first, third), (second, third), (first, second)):
        found = explain_dlms(b"".join(octets[start:end] for start, end in kept), Keys())
        assert found is not None
        assert (found.readings, bool(found.faults)) == ((), True)


def han_cases() -> list[dict]:
    return json.loads(data_path("dlms/han_nordic.json").read_text())["cases"]


def test_nordic_customer_interface_lists() -> None:
    for case in han_cases():
        found = explain_dlms(bytes.fromhex(case["llc_pdu_hex"]), Keys())
        assert found is not None
        _agrees(found, dict(case["expected"]))


def _agrees(found: Explanation, expected: dict[str, object]) -> None:
    maker = str(expected.pop("meter_manufacturer"))
    assert any(f"of a {maker} meter" in line for line in found.lines)
    for name, value in expected.items():
        obis = IDENTITIES[maker].get(name)
        seen = [r.value for r in found.readings if r.obis == obis or (name in HAN_NAMES and HAN_NAMES[name] in r.obis)]
        assert seen == [value if isinstance(value, str) else Decimal(str(value))], name


def test_units_of_the_lists_without_scalers() -> None:
    units = {}
    for case in han_cases():
        found = explain_dlms(bytes.fromhex(case["llc_pdu_hex"]), Keys())
        assert found is not None
        units.update({".".join(r.obis.split(".")[2:4]): r.unit for r in found.readings})
    assert (units["1.7"], units["1.8"], units["31.7"], units["32.7"], units["3.8"]) == ("W", "Wh", "A", "V", "varh")


def test_a_recorded_conversation_names_the_answer() -> None:
    client, meter = Address(16), Address(1, 17, 2)
    ask = Frame(meter, client, hdlc.information(0, 0), bytes.fromhex("e6e600c001c100010000600100ff0200"))
    tell = Frame(client, meter, hdlc.information(0, 1), bytes.fromhex("e6e700c401c10009064754303031 37".replace(" ", "")))
    found = explain_dlms(encode_frame(ask) + encode_frame(tell)[1:], Keys())
    assert found is not None
    assert values(found) == {"0.0.96.1.0.255": "GT0017"}


def test_a_long_answer_in_blocks_is_put_together() -> None:
    value = bytes.fromhex("020309060100010700ff060000011802020f00161b")
    blocks = [GetBlockResponse(0xC1, Block(False, 1, value[:9])), GetBlockResponse(0xC1, Block(True, 2, value[9:]))]
    between = GetNextRequest(0xC1, 1)
    pdus = [blocks[0].octets(), between.octets(), blocks[1].octets()]
    stream = b"".join(
        b"\x00\x01\x00\x01\x00\x10" + len(pdu).to_bytes(2, "big") + pdu for pdu in pdus
    )
    found = explain_dlms(stream, Keys())
    assert found is not None
    assert values(found) == {"1.0.1.7.0.255": 280}
    alone = explain_dlms(stream[len(pdus[0]) + 8 :], Keys())
    assert alone is not None
    assert (alone.readings, bool(alone.faults)) == ((), True)


@given(st.sampled_from([b"", b"\x7e\xa0", b"\xe6\xe7\x00", b"\x0f", b"\x68\x09\x09\x68", b"\xdb\x08", b"\xc4\x01\xc1\x00"]),
       st.binary(max_size=200))  # fmt: skip
@settings(max_examples=3000)
def test_any_octets_are_explained_or_not_mine(first: bytes, octets: bytes) -> None:
    found = explain_dlms(first + octets, Keys(bytes(16), bytes(16)))
    assert found is None or found.title


def test_exact_numbers_in_json() -> None:
    text = json_text({"value": Decimal("236.40"), "exact": Decimal("0.10000000000000000000001"), "whole": 22721380})
    assert text == '{"value": 236.4, "exact": 0.10000000000000000000001, "whole": 22721380}'


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry points of the project file, as an installation would declare them."""
    points = {
        cli.DECODERS: [EntryPoint("dlms", "gridtally_edge.protocols.explain:explain_dlms", cli.DECODERS)],
        cli.CHECKUPS: [EntryPoint("absent", "gridtally_absent.doctor:checks", cli.CHECKUPS)],
    }
    monkeypatch.setattr(cli, "entry_points", lambda group: points[group])


@pytest.mark.usefixtures("installed")
def test_the_command_says_it_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["decode", AIDON[:20], AIDON[20:]]) == 0
    out = capsys.readouterr().out
    assert "push (data-notification)" in out
    assert "1.0.1.7.0.255  280 W" in out


@pytest.mark.usefixtures("installed")
def test_the_command_says_it_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    case = pushes()["hdlc_landis_gyr_e450"]
    keys = ["--key", case["encryption_key_hex"], "--auth-key", case["authentication_key_hex"]]
    assert cli.main(["decode", case["raw_hex"], *keys, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"obis": "1.0.1.8.0.255", "value": 4408736, "unit": ""} in answer["readings"]
    assert (answer["kind"], answer["proved"], answer["faults"]) == ("dlms", True, [])


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("content", [AIDON.encode(), bytes.fromhex(AIDON), f"e6:e7:00 {AIDON[6:]}\n".encode()])
def test_a_file_holds_digits_or_octets(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "push"
    path.write_bytes(content)
    assert cli.main(["decode", "--file", str(path)]) == 0
    assert "280 W" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
def test_damage_has_its_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["decode", pushes()["hdlc_landis_gyr_zmf100"]["raw_hex"]]) == 5
    assert "checksum error" in capsys.readouterr().out


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ffff"], 5, "nothing installed here recognises these 2 octets"),
        (["7e7"], 3, "3 digits: one is missing or too many"),
        (["zz"], 3, "hexadecimal digits only"),
        ([], 3, "either as HEX or with --file"),
        (["--file", "/nowhere/at/all"], 3, "cannot be read"),
        ([AIDON, "--key", "00"], 3, "32 hexadecimal digits"),
    ],
)
def test_wrong_use_says_what_to_do(
    arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["decode", *arguments]) == code
    assert message in capsys.readouterr().err


def test_without_any_decoder_it_says_how_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [])
    assert cli.main(["decode", AIDON]) == 3
    assert "pip install" in capsys.readouterr().err
    assert cli.main(["doctor"]) == 3


@pytest.mark.usefixtures("installed")
def test_doctor_passes_over_what_is_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    assert "not installed on this machine" in capsys.readouterr().out


def test_doctor_shows_failures_with_their_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    point = EntryPoint("decimal", "tests_of_a_missing_dependency:checks", cli.CHECKUPS)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])
    assert cli.main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["checks"][0]["ok"] is False
    assert cli.main(["doctor"]) == 1
    assert "-> install gridtally" in capsys.readouterr().out


def test_the_installed_decoders_include_dlms() -> None:
    declared = {point.name: point.value for point in entry_points(group=cli.DECODERS)}
    if not declared:
        pytest.skip("gridtally is not installed into this Python; its entry points cannot be seen")
    assert declared["dlms"] == "gridtally_edge.protocols.explain:explain_dlms"
