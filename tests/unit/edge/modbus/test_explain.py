"""`gridtally decode` on Modbus octets."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.protocols.modbus_explain import explain_modbus
from gridtally_shared.explain import Keys

VOLTS = bytes.fromhex("01040000000271cb 010404436633341b38")


def test_a_request_and_its_answer_give_address_and_value():
    told = explain_modbus(VOLTS, Keys())
    assert told is not None
    assert told.proved
    assert "read input registers" in told.title
    assert told.readings[0].obis.startswith("0x0000")
    assert told.readings[0].value == Decimal("230.20001")


def test_noise_in_front_is_passed_over():
    told = explain_modbus(b"\x00\xff" + VOLTS, Keys())
    assert told is not None
    assert len(told.readings) == 1


def test_an_exception_is_told_in_words():
    told = explain_modbus(bytes.fromhex("018402c2c1"), Keys())
    assert told is not None
    assert "illegal data address" in told.title


def test_a_damaged_answer_gives_a_fault_and_no_value():
    told = explain_modbus(VOLTS[8:-1] + b"\x39", Keys())
    assert told is not None
    assert (told.readings, told.proved) == ((), False)
    assert "CRC" in told.faults[0]


def test_octets_of_other_protocols_are_not_ours():
    assert explain_modbus(bytes.fromhex("7ea00a030002010723bf5d7e"), Keys()) is None
    assert explain_modbus(b"", Keys()) is None


@given(st.binary(max_size=200))
def test_any_octets_are_explained_or_left(octets):
    told = explain_modbus(octets, Keys())
    assert told is None or told.kind == "modbus"
