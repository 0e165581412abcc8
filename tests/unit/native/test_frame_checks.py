"""CRC-16/X-25 and CRC-16/MODBUS against published check values."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.native_twin


def test_check_value_of_x25(twin: ModuleType) -> None:
    assert twin.crc16_x25(b"123456789") == 0x906E


def test_check_value_of_modbus(twin: ModuleType) -> None:
    assert twin.crc16_modbus(b"123456789") == 0x4B37


def test_hdlc_frame_of_a_dlms_client(twin: ModuleType) -> None:
    """SNRM of the Green Book's style: 7E A0 07 03 21 93 0F 01 7E, check over the bytes between the flags."""
    assert twin.crc16_x25(bytes.fromhex("A007032193")).to_bytes(2, "little") == bytes.fromhex("0F01")


def test_modbus_request_of_the_application_notes(twin: ModuleType) -> None:
    """Slave 17, read 3 holding registers from 107: 11 03 00 6B 00 03, check 76 87."""
    assert twin.crc16_modbus(bytes.fromhex("1103006B0003")).to_bytes(2, "little") == bytes.fromhex("7687")


def test_nothing_is_the_start_value(twin: ModuleType) -> None:
    assert (twin.crc16_x25(b""), twin.crc16_modbus(b"")) == (0, 0xFFFF)


def test_a_list_is_not_a_buffer(twin: ModuleType) -> None:
    with pytest.raises(TypeError):
        twin.crc16_x25([1, 2, 3])


@given(st.binary(min_size=1, max_size=300), st.integers(0, 299), st.integers(1, 255))
def test_a_changed_byte_changes_the_check(twin: ModuleType, data: bytes, place: int, flip: int) -> None:
    changed = bytearray(data)
    changed[place % len(data)] ^= flip
    assert twin.crc16_x25(changed) != twin.crc16_x25(data)
    assert twin.crc16_modbus(changed) != twin.crc16_modbus(data)


@given(st.binary(max_size=300))
def test_twins_agree(pure: ModuleType, kernel: ModuleType, data: bytes) -> None:
    assert kernel.crc16_x25(data) == pure.crc16_x25(data)
    assert kernel.crc16_modbus(data) == pure.crc16_modbus(data)
