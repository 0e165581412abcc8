"""The RTU framer against published and independent frames, and against everything a line does to them."""

import json
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gridtally_edge.protocols.conversation import Found
from gridtally_edge.protocols.modbus import (
    Function,
    Kind,
    Query,
    ReadRequest,
    Refusal,
    WordOrder,
    decode_answer,
    decode_value,
    find_answer,
    read_registers,
    with_crc,
)
from gridtally_shared.errors import MeterFault
from support.data import data_path

KINDS = {"float32": Kind.F32, "uint16": Kind.U16, "int16": Kind.S16, "uint32": Kind.U32, "int32": Kind.S32}
KINDS |= {"uint64": Kind.U64, "int64": Kind.S64}
VOLTS = ReadRequest(1, Function.READ_INPUT, 0, 2)
VOLTS_ANSWER = bytes.fromhex("010404436633341b38")


def request_of(octets: bytes) -> ReadRequest:
    count = int.from_bytes(octets[4:6], "big")
    return ReadRequest(octets[0], Function(octets[1]), int.from_bytes(octets[2:4], "big"), count)


def mbmd_cases() -> list[dict]:
    return json.loads(data_path("modbus/mbmd_meter_maps.json").read_text())["cases"]


def test_published_request_is_built_octet_for_octet():
    for row in json.loads(data_path("modbus/published_frames.json").read_text())["frames"]:
        octets = bytes.fromhex(row["request_hex"])
        assert request_of(octets).to_bytes() == octets


def test_published_answer_is_found_and_decoded():
    row = json.loads(data_path("modbus/published_frames.json").read_text())["frames"][0]
    answer = bytes.fromhex(row["response_hex"])
    request = request_of(bytes.fromhex(row["request_hex"]))
    assert find_answer(request, answer) == Found(0, len(answer))
    volts = decode_value(decode_answer(request, answer), Kind.F32)
    assert round(volts, 3) == row["decoded"]["VoltageL1"]


def test_every_register_of_eight_independent_meter_maps_decodes_to_its_value():
    """Requests and answers made outside this project; split into random pieces with noise in front and behind."""
    chance, checked = random.Random(4), 0
    for case in mbmd_cases():
        image = {int(address): word for address, word in case["register_image"].items()}
        for frame in case["rtu_frames"]:
            request, answer = request_of(bytes.fromhex(frame["request_hex"])), bytes.fromhex(frame["response_hex"])
            assert request.to_bytes().hex() == frame["request_hex"]
            line = chance.randbytes(chance.randrange(4)) + answer + bytes(chance.randrange(4))
            found = next(f for n in range(len(line) + 1) if (f := find_answer(request, line[:n])))
            words = decode_answer(request, line[found.start : found.end])
            assert words == tuple(image[request.address + n] for n in range(request.count))
        for row in case["registers_map"]:
            order = WordOrder.LITTLE if row["type"].endswith("_lsw") else WordOrder.BIG
            words = tuple(image[row["address"] + n] for n in range(row["words"]))
            value = decode_value(words, KINDS[row["type"].removesuffix("_lsw")], order) / row["divisor"]
            assert value == pytest.approx(case["expected"][row["measure"]]["value"], rel=1e-12), row
            checked += 1
    assert checked > 150


@pytest.mark.covers_part("BYPL-2.4b")
def test_a_frame_with_any_one_bit_turned_yields_no_value():
    for bit in range(8 * len(VOLTS_ANSWER)):
        spoilt = bytearray(VOLTS_ANSWER)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert find_answer(VOLTS, bytes(spoilt)) is None, bit
        with pytest.raises(MeterFault):
            decode_answer(VOLTS, bytes(spoilt))


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"\x00", b""), (b"\xff\xff", b""), (b"", b"\x00\x00\x00"), (VOLTS.to_bytes(), b""), (VOLTS.to_bytes()[3:], b"\xff")],
    ids=["leading 00", "leading FF", "three trailing zeros", "full echo", "partial echo"],
)
def test_noise_around_an_answer_is_skipped(before, after):
    found = find_answer(VOLTS, before + VOLTS_ANSWER + after)
    assert found == Found(len(before), len(before) + len(VOLTS_ANSWER))


def test_an_answer_of_another_unit_function_or_length_is_not_ours():
    other_unit = with_crc(bytes((2, 4, 4, 0, 0, 0, 0)))
    other_function = with_crc(bytes((1, 3, 4, 0, 0, 0, 0)))
    other_length = with_crc(bytes((1, 4, 2, 0, 0)))
    for answer in (other_unit, other_function, other_length):
        assert find_answer(VOLTS, answer) is None
        with pytest.raises(MeterFault):
            decode_answer(VOLTS, answer)
    assert find_answer(VOLTS, other_unit + VOLTS_ANSWER) == Found(9, 18)


def test_an_exception_is_told_in_words_with_its_request():
    refusal = with_crc(bytes((1, 0x84, 2)))
    assert decode_answer(VOLTS, refusal) == Refusal(2)
    conversation = read_registers(VOLTS)
    exchange = next(conversation)
    assert exchange.find_answer(b"\x00" + refusal) == Found(1, 6)
    with pytest.raises(MeterFault, match=r"unit 1, read input registers, address 0x0000.*illegal data address"):
        conversation.send(refusal)


def test_an_unknown_exception_code_is_still_named():
    assert "exception 77, unknown code" in str(decode_answer(VOLTS, with_crc(bytes((1, 0x84, 77)))))


@given(st.binary(max_size=300))
@example(b"\x01\x04")
@example(b"\x01\x84\x02")
def test_any_octets_give_an_answer_none_or_a_meter_fault(octets):
    found = find_answer(VOLTS, octets)
    assert found is None or isinstance(decode_answer(VOLTS, octets[found.start : found.end]), tuple | Refusal)
    try:
        decode_answer(VOLTS, octets)
    except MeterFault:
        assert find_answer(VOLTS, octets) != Found(0, len(octets))


def test_an_answer_in_pieces_is_found_when_its_last_octet_is_there():
    line = b"\xff" + VOLTS_ANSWER + b"\x00"
    query = Query(VOLTS)
    assert [query.find(line[:n]) is not None for n in range(len(line) + 1)] == [n >= 10 for n in range(len(line) + 1)]


@pytest.mark.parametrize(("before", "after"), [(b"", b""), (b"\x01\x04", b""), (VOLTS.to_bytes(), b"\x00\x00"), (b"\x00", b"\x01")])
def test_a_request_made_once_finds_what_the_framer_finds(before, after):
    query = Query(VOLTS)
    line = before + VOLTS_ANSWER + after
    assert query.find(line) == find_answer(VOLTS, line)
    assert query.octets(VOLTS_ANSWER) == VOLTS_ANSWER[3:-2]
    assert query.octets(with_crc(bytes((1, 0x84, 2)))) == Refusal(2)
    for bit in range(8 * len(VOLTS_ANSWER)):
        spoilt = bytearray(VOLTS_ANSWER)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert query.find(bytes(spoilt)) is None
        with pytest.raises(MeterFault):
            query.octets(bytes(spoilt))


@pytest.mark.parametrize("fields", [(0, 0, 1), (248, 0, 1), (1, -1, 1), (1, 0x10000, 1), (1, 0, 0), (1, 0, 126)])
def test_a_request_that_cannot_be_is_refused_here(fields):
    unit, address, count = fields
    with pytest.raises(ValueError, match="unit 1"):
        ReadRequest(unit, Function.READ_INPUT, address, count)


def test_word_order_and_width():
    assert decode_value((0x4366, 0x3334), Kind.F32) == decode_value((0x3334, 0x4366), Kind.F32, WordOrder.LITTLE)
    assert decode_value((0, 0, 0, 1), Kind.U64) == 1
    assert decode_value((0xFFFF,), Kind.S16) == -1
    with pytest.raises(ValueError, match="takes 2 registers"):
        decode_value((1,), Kind.F32)
