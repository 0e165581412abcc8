"""PDUs, data and times: recorded octets both ways, and any octets at all."""

from __future__ import annotations

import json
import struct
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_edge.drivers.dlms_table import table_rows
from gridtally_edge.protocols.dlms import axdr, mbus_transport, push, wrapper
from gridtally_edge.protocols.dlms.access import Attribute, Result
from gridtally_edge.protocols.dlms.acse import Aare, Aarq
from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.ciphering import GeneralGlo, Sealed
from gridtally_edge.protocols.dlms.cosem_time import (
    ClockPolicy,
    ClockRule,
    cosem_datetime,
    datetime_octets,
    decode_datetime,
    encode_datetime,
)
from gridtally_edge.protocols.dlms.describe import describe
from gridtally_edge.protocols.dlms.initiate import InitiateResponse
from gridtally_edge.protocols.dlms.notification import DataNotification, GeneralBlock, join_blocks
from gridtally_edge.protocols.dlms.services import (
    ActionResponse,
    GetBlockResponse,
    GetRequest,
    GetResponse,
    SetRequest,
)
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from support.data import data_path

INDIA = ClockRule(utc_offset_min=330)


def recorded(kind: str | None = None) -> list[tuple[str, bytes]]:
    pdus = json.loads(data_path("dlms/xdlms_pdus.json").read_text())["pdus"]
    return [(p["kind"], bytes.fromhex(p["hex"])) for p in pdus if p["kind"] != "hdlc-frame" and kind in (None, p["kind"])]


def test_recorded_pdus_encode_to_the_same_octets() -> None:
    pdus = recorded()
    assert len(pdus) >= 34
    for _, octets in pdus:
        assert decode_apdu(octets).octets() == octets


def test_recorded_pdus_are_what_the_other_decoder_says() -> None:
    kinds = {
        "get-response": "Get", "get-request": "Get", "set-request": "Set", "set-response": "Set", "aare": "Aare",
        "aarq": "Aarq", "rlre": "Rlre", "rlrq": "Rlrq", "action-request": "Action", "action-response": "Action",
        "initiate-request": "InitiateRequest", "initiate-response": "InitiateResponse",
        "data-notification": "DataNotification", "general-glo-ciphering": "GeneralGlo",
    }  # fmt: skip
    for kind, octets in recorded():
        assert type(decode_apdu(octets)).__name__.startswith(kinds[kind])


def test_recorded_pdus_are_described() -> None:
    for _, octets in recorded():
        assert describe(decode_apdu(octets))[0]


def test_recorded_fields() -> None:
    request = decode_apdu(bytes.fromhex("c0010000080000010000ff0200"))
    assert request == GetRequest(0, Attribute(8, Obis.of("0.0.1.0.0.255"), 2))
    set_clock = decode_apdu(bytes.fromhex("c101c100080000010000ff0200090c07e50118ff0e303950ffc400"))
    assert isinstance(set_clock, SetRequest)
    assert str(decode_datetime(axdr.octets_of(set_clock.value))) == "2021-01-24 14:48:57"
    refused = decode_apdu(bytes.fromhex("611fa109060760857405080101a203020101a305a103020101be0604040e010601"))
    assert isinstance(refused, Aare)
    assert refused.result == 1
    acted = decode_apdu(bytes.fromhex("c701c0000101fa"))
    assert isinstance(acted, ActionResponse)
    assert acted.outcome == Result(250)
    hls = decode_apdu(recorded("aarq")[1][1])
    assert isinstance(hls, Aarq)
    assert (hls.mechanism, hls.secret) == (5, b"K56iVagY")
    granted = decode_apdu(bytes.fromhex("0800065f1f040000501f01f40007"))
    assert isinstance(granted, InitiateResponse)
    assert granted.max_pdu == 500
    glo = decode_apdu(recorded("general-glo-ciphering")[0][1])
    assert isinstance(glo, GeneralGlo)
    assert (glo.title.hex(), glo.sealed.counter) == ("2f19229199164103", 0x1E5)


def test_a_short_data_block_cannot_be_used() -> None:
    short = [a for _, o in recorded("get-response") if isinstance(a := decode_apdu(o), GetBlockResponse) and a.block.missing]
    assert [a.block.missing for a in short] == [2]
    with pytest.raises(MeterFault, match="2 octets short"):
        short[0].block.piece()


def test_octets_behind_an_answer_carry_no_value() -> None:
    answer = decode_apdu(bytes.fromhex("c401c000 0f05 ffff".replace(" ", "")))
    assert isinstance(answer, GetResponse)
    assert (answer.outcome, answer.trailing) == (Data(Tag.INT8, 5), b"\xff\xff")


def test_a_compressed_profile_buffer() -> None:
    case = json.loads(data_path("dlms/profile_buffer_null_clock.json").read_text())
    columns = tuple(_capture_object(text) for text in case["capture_objects"])
    buffer = axdr.decode(bytes.fromhex(case["buffer_hex"]))
    rule = ClockRule(utc_offset_min=60)
    rows = list(table_rows(columns, buffer, rule, case["capture_period_minutes"] * 60))
    assert len(rows) == case["expected_rows"]
    assert axdr.encode(buffer).hex() == case["buffer_hex"]
    stamps = [row.at_ms for row in rows]
    assert stamps[0] == decode_datetime(bytes.fromhex(case["clock_hex"])).utc_ms(rule)
    assert cosem_datetime(stamps[0], rule).local().isoformat() == "2019-12-31T23:00:00"
    assert cosem_datetime(stamps[1], rule).local().isoformat() == case["expected"][1]["time"]
    assert {tuple(axdr.integer_of(c.data) for c in row.cells[2:]) for row in rows} == {tuple(case["register_values"])}


def _capture_object(text: str) -> Attribute:
    class_id, obis, index = text.split(";")
    return Attribute(int(class_id), Obis.of(obis), int(index))


@pytest.mark.parametrize(
    ("octets", "utc"),
    [
        ("07e8030f050a1e0000feb600", 1_710_478_800_000),
        ("07e8030f050a1e00ff800000", 1_710_478_800_000),
        ("07e8030f050a1e0032feb600", 1_710_478_800_500),
    ],
)
def test_indian_time_with_and_without_deviation(octets: str, utc: int) -> None:
    assert decode_datetime(bytes.fromhex(octets)).utc_ms(INDIA) == utc


def test_the_deviation_by_policy() -> None:
    sent = decode_datetime(bytes.fromhex("07e8030f050a1e0000014a00"))
    assert sent.utc_ms(ClockRule(ClockPolicy.INVERTED, 0)) == 1_710_478_800_000
    assert sent.utc_ms(ClockRule(ClockPolicy.IGNORED, 330)) == 1_710_478_800_000
    assert sent.utc_ms(ClockRule(ClockPolicy.BLUE_BOOK, 0)) == 1_710_478_800_000 + 2 * 330 * 60_000


@pytest.mark.parametrize("octets", ["ffff030f050a1e0000feb600", "07e8020f0519000000feb600", "07e8ff0f050a1e0000feb600"])
def test_wildcards_and_impossible_times_are_no_moment(octets: str) -> None:
    with pytest.raises(MeterFault):
        decode_datetime(bytes.fromhex(octets)).utc_ms(INDIA)


@given(st.integers(0, 4_102_444_799), st.sampled_from(ClockPolicy), st.integers(-720, 840))
def test_a_moment_survives_the_meter_s_own_time(second: int, policy: ClockPolicy, offset: int) -> None:
    rule = ClockRule(policy, offset)
    assert decode_datetime(datetime_octets(second * 1_000, rule)).utc_ms(rule) == second * 1_000


@given(st.binary(min_size=12, max_size=12))
@settings(max_examples=2000)
def test_any_twelve_octets_as_a_time(octets: bytes) -> None:
    moment = decode_datetime(octets)
    assert encode_datetime(moment) == octets
    assert str(moment)
    try:
        moment.utc_ms(INDIA)
    except MeterFault:
        return


def test_floats_are_exact() -> None:
    assert axdr.number_of(Data(Tag.FLOAT32, struct.pack(">f", 230.1))) == Decimal("230.1")
    assert axdr.number_of(Data(Tag.FLOAT64, struct.pack(">d", 0.1))) == Decimal("0.1")
    with pytest.raises(MeterFault):
        axdr.number_of(Data(Tag.FLOAT32, b"\x7f\xc0\x00\x00"))


def test_a_compact_array_and_back() -> None:
    octets = bytes.fromhex("13 02 02 12 06 0c 0001 00000002 0003 00000004".replace(" ", ""))
    data = axdr.decode(octets)
    assert [tuple(axdr.integer_of(m) for m in axdr.items_of(item)) for item in axdr.items_of(data)] == [(1, 2), (3, 4)]
    assert axdr.encode(data) == octets


@pytest.mark.parametrize(
    "octets",
    [
        bytes.fromhex("01") * 5000,
        bytes.fromhex("0284ffffffff") + bytes(1000),
        bytes.fromhex("1301ffff01ffff00") + b"\x01\x00",
        bytes.fromhex("13000100"),
        bytes.fromhex("1301ffff0200820400") + bytes(1024),
    ],
    ids=["deep", "many", "compact of many", "compact of nothing", "compact of empty structures"],
)
def test_hostile_data_ends_soon(octets: bytes) -> None:
    began = time.monotonic()
    with pytest.raises(MeterFault):
        axdr.decode(octets)
    assert time.monotonic() - began < 5


LEAVES = st.one_of(
    st.just(axdr.NULL),
    st.integers(-128, 127).map(lambda v: Data(Tag.INT8, v)),
    st.integers(0, 2**32 - 1).map(lambda v: Data(Tag.UINT32, v)),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: Data(Tag.INT64, v)),
    st.binary(max_size=300).map(axdr.octet_string),
    st.binary(min_size=4, max_size=4).map(lambda v: Data(Tag.FLOAT32, v)),
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=5).map(lambda items: axdr.structure(*items)))


@given(TREES)
def test_any_value_survives_coding(data: Data) -> None:
    assert axdr.decode(axdr.encode(data)) == data


FIRST = st.sampled_from([
    b"", b"\xc4\x01", b"\xc4\x02", b"\xc4\x03", b"\xc0\x01", b"\xc0\x03", b"\xc1\x01", b"\xc1\x02", b"\xc3\x01",
    b"\xc7\x01", b"\x60", b"\x61", b"\x63", b"\x0f", b"\xc2", b"\xd8", b"\xe0", b"\xdb", b"\xdd", b"\x01", b"\x08",
    b"\xcc", b"\x0f\x00\x00\x00\x01\x00\x02\x02",
])  # fmt: skip


@given(FIRST, st.binary(max_size=120))
@settings(max_examples=4000)
def test_any_octets_as_a_pdu(first: bytes, octets: bytes) -> None:
    try:
        apdu = decode_apdu(first + octets)
    except MeterFault:
        return
    assert describe(apdu)


@given(st.binary(max_size=200))
@settings(max_examples=3000)
def test_any_octets_as_data(octets: bytes) -> None:
    try:
        data = axdr.decode(octets)
    except MeterFault:
        return
    assert axdr.decode(axdr.encode(data)) == data


@given(st.sampled_from([b"", b"\x02\x02\x16\x01\x01", b"\x01\x01\x02\x03\x09\x06"]), st.binary(max_size=200))
@settings(max_examples=3000)
def test_any_octets_as_a_push_body(first: bytes, octets: bytes) -> None:
    try:
        push.push_values(first + octets)
    except MeterFault:
        return


@given(TREES)
def test_any_value_as_a_push_body(data: Data) -> None:
    try:
        push.values_of(data)
    except MeterFault:
        return


@given(st.binary(max_size=100))
@settings(max_examples=2000)
def test_any_octets_as_wrapper_sealed_and_mbus(octets: bytes) -> None:
    for placed in wrapper.scan(b"\x00\x01" + octets):
        assert placed.pdu.octets() == (b"\x00\x01" + octets)[placed.start : placed.end]
    for read in (mbus_transport.segments_of, Sealed.from_octets):
        try:
            read(octets)
        except MeterFault:
            continue


def test_wrapper_pdus_one_after_the_other() -> None:
    stream = wrapper.WrapperPdu(1, 16, b"\x01\x02").octets() + wrapper.WrapperPdu(1, 16, b"").octets()
    assert [placed.pdu.apdu for placed in wrapper.scan(stream + stream[:5])] == [b"\x01\x02", b""]


@pytest.mark.parametrize("numbers", [(2, 3), (1, 3), (1,), ()])
def test_a_missing_general_block_is_a_fault(numbers: tuple[int, ...]) -> None:
    blocks = tuple(GeneralBlock(0x80 if n == 3 else 0x40, n, 0, b"x") for n in numbers)
    with pytest.raises(MeterFault):
        join_blocks(blocks)


def test_a_notification_with_typed_time_encodes_back() -> None:
    octets = bytes.fromhex("0f40000000090c07e3020401173416ff800000020106000016dc")
    apdu = decode_apdu(octets)
    assert isinstance(apdu, DataNotification)
    assert (apdu.tagged_time, len(apdu.time), apdu.octets()) == (True, 12, octets)
