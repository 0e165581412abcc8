"""Coils, inputs and single registers: the standard's own examples, and what a line does to answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.protocols.conversation import Found
from gridtally_edge.protocols.modbus import Refusal, with_crc
from gridtally_edge.protocols.modbus_bits import (
    READ_COILS,
    READ_INPUTS,
    read_bit,
    read_bits_request,
    write_coil_request,
    write_register_request,
)
from gridtally_shared.errors import MeterFault
from support.modbus_talk import converse

REQUESTS = [
    read_bits_request(17, READ_COILS, 19, 37),
    read_bits_request(17, READ_INPUTS, 196, 22),
    write_coil_request(17, 172, True, 5),
    write_coil_request(17, 19, True),
    write_register_request(17, 1, 3),
]


@pytest.mark.parametrize(
    ("request_", "pdu", "answer", "means"),
    [
        (REQUESTS[0], "0100130025", "0105cd6bb20e1b", "05cd6bb20e1b"),
        (REQUESTS[1], "0200c40016", "0203acdb35", "03acdb35"),
        (REQUESTS[2], "0500acff00", "0500acff00", "00acff00"),
        (REQUESTS[3], "0f001300010101", "0f00130001", "00130001"),
        (REQUESTS[4], "1000010001020003", "1000010001", "00010001"),
    ],
    ids=["read coils", "read inputs", "write coil", "write coils", "write registers"],
)
def test_the_examples_of_the_application_protocol(request_, pdu, answer, means):
    """MODBUS Application Protocol 1.1b3, 6.1, 6.2, 6.5, 6.11 and 6.12 (one coil and one register of the last two)."""
    assert request_.wire == with_crc(bytes((17,)) + bytes.fromhex(pdu))
    frame = with_crc(bytes((17,)) + bytes.fromhex(answer))
    assert request_.find(b"\x00\xff" + frame + b"\x00") == Found(2, 2 + len(frame))
    assert request_.decode(frame).hex() == means


@pytest.mark.parametrize("request_", [REQUESTS[0], REQUESTS[1], REQUESTS[3], REQUESTS[4]], ids=lambda r: r.about)
def test_the_own_echo_never_passes_for_an_answer(request_):
    assert request_.find(request_.wire) is None


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.about)
def test_a_refusal_is_told_and_a_flipped_bit_says_nothing(request_):
    refusal = with_crc(bytes((17, request_.head[1] | 0x80, 2)))
    assert request_.decode(refusal) == Refusal(2)
    for bit in range(8 * len(refusal)):
        spoilt = bytearray(refusal)
        spoilt[bit // 8] ^= 1 << bit % 8
        assert request_.find(bytes(spoilt)) is None
        with pytest.raises(MeterFault):
            request_.decode(bytes(spoilt))


@given(octets=st.binary(max_size=60))
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.about)
def test_any_octets_are_an_answer_or_none(request_, octets):
    found = request_.find(octets)
    assert found is None or request_.decode(octets[found.start : found.end]) is not None


def test_a_bit_is_read_and_a_board_that_refuses_is_told_in_words():
    assert converse(read_bit(40, READ_INPUTS, 3), lambda r: with_crc(bytes((40, 2, 1, 1))))[0] is True
    assert converse(read_bit(40, READ_COILS, 3), lambda r: with_crc(bytes((40, 1, 1, 0xFE))))[0] is False
    with pytest.raises(MeterFault, match=r"the relay board refused \(unit 40, read coil 3\): exception 4"):
        converse(read_bit(40, READ_COILS, 3), lambda r: with_crc(bytes((40, 0x81, 4))))


@pytest.mark.parametrize("wrong", [(0, 1, 0, 1), (248, 1, 0, 1), (1, 3, 0, 1), (1, 1, 0, 0), (1, 1, 0, 2_001), (1, 1, 0x10000, 1)])
def test_a_request_that_can_not_be_is_our_own_mistake(wrong):
    with pytest.raises(ValueError):
        read_bits_request(*wrong)
