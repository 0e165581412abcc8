"""The record decoder against real meters' frames as libmbus reads them, and against the clauses of EN 13757-3."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from gridtally_edge.protocols.mbus import fields
from gridtally_edge.protocols.mbus.compact import Formats, format_of
from gridtally_edge.protocols.mbus.crc import crc16_en13757
from gridtally_edge.protocols.mbus.fields import Invalid, Moment
from gridtally_edge.protocols.mbus.frames import decode_frame, find_frame
from gridtally_edge.protocols.mbus.records import Function, Record, read_records
from gridtally_edge.protocols.mbus.telegram import decode_answer, decode_telegram
from gridtally_edge.protocols.mbus.vif import Form
from gridtally_shared.errors import MeterFault
from support.mbus_frames import Expected, Row, bad_frames, expected, frames, octets


@pytest.mark.parametrize("path", frames(), ids=lambda p: p.stem)
def test_every_frame_of_a_real_meter_gives_what_libmbus_reads(path: Path) -> None:
    telegram, answer = decode_answer(decode_frame(octets(path))), expected(path)
    identity = telegram.header.identity
    assert identity is not None
    assert (identity.number.lstrip("0") or "0", identity.maker, identity.version) == (answer.number, answer.maker, answer.version)
    assert telegram.header.status == answer.status
    assert [_places(record) for record in telegram.contents.records] == [
        (row.function, row.storage, row.tariff, row.subunit) for row in answer.rows
    ]
    for record, row in zip(telegram.contents.records, answer.rows, strict=True):
        _same_name(record, row)
        _same_value(record, row)
    _same_tail(telegram.contents.maker_data, telegram.contents.more_follow, answer)


def _places(record: Record) -> tuple[str, int, int, int]:
    return record.function.name, record.storage, record.tariff, record.subunit


def _same_name(record: Record, row: Row) -> None:
    if row.name not in ("Reserved", ""):
        assert (record.name, record.unit) == (row.name, row.unit)


def _same_value(record: Record, row: Row) -> None:
    value = record.value
    if isinstance(value, Moment) and row.unit:
        assert record.named.qualifiers  # libmbus prints the date of a maximum as if it were the maximum
    elif isinstance(value, Moment):
        assert value.text == row.value.removesuffix("Z")
    elif isinstance(value, Decimal):
        assert abs(value - Decimal(row.value)) <= Decimal("0.000001")
    elif isinstance(value, Invalid):  # libmbus knows no invalid dates: it prints month 0 or the octets as a number
        assert record.named.meaning.form is not Form.NUMBER
    elif isinstance(value, str):
        assert value == row.value


def _same_tail(tail: bytes | None, more_follow: bool, answer: Expected) -> None:
    assert more_follow is answer.more_follow
    assert (None if tail is None else tail.hex().upper()) == answer.tail


def test_the_data_hold_frames_and_records_enough() -> None:
    assert len(frames()) == 38
    assert sum(len(expected(path).rows) for path in frames()) > 380


@pytest.mark.parametrize("path", bad_frames(), ids=lambda p: p.stem)
def test_a_damaged_or_refusing_frame_is_a_clean_fault(path: Path) -> None:
    with pytest.raises(MeterFault):
        decode_answer(decode_frame(octets(path)))


def test_a_frame_with_any_flipped_bit_gives_no_value() -> None:
    frame = octets(frames()[0])
    for position in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(MeterFault):
            decode_frame(bytes(damaged))


def test_frames_are_found_in_noise_and_pieces() -> None:
    chance = random.Random(4)
    for path in frames():
        frame = octets(path)
        noise = bytes(chance.choices((0x00, 0xFF, 0x68, 0x10, 0x16, 0xE5), k=chance.randrange(9)))
        line = noise + frame + b"\x00\xff"
        found = find_frame(line)
        assert found is not None
        assert line[found.start : found.end] == frame
        assert find_frame(line[: len(noise) + len(frame) - 1]) is None


def _only(text: str) -> Record:
    records = read_records(bytes.fromhex(text)).records
    assert len(records) == 1
    return records[0]


NUMBERS = [
    ("01 13 FF", "-0.001", "8 bit, negative"),
    ("02 13 E8 03", "1", "16 bit"),
    ("03 13 15 31 00", "12.565", "24 bit: EN 13757-3 example"),
    ("04 03 FF FF FF 7F", "2147483647", "32 bit"),
    ("06 03 01 00 00 00 00 80", "-140737488355327", "48 bit"),
    ("07 03 FF FF FF FF FF FF FF 7F", "9223372036854775807", "64 bit"),
    ("05 5B 00 00 B8 42", "92", "real"),
    ("09 5B 25", "25", "2 digits"),
    ("0A 5B 34 12", "1234", "4 digits"),
    ("0B 3B 27 01 F0", "-0.127", "6 digits, negative"),
    ("0C 13 27 04 85 02", "2850.427", "8 digits: OMS example"),
    ("0E 03 90 78 56 34 12 00", "1234567890", "12 digits"),
    ("0D 03 C3 56 34 12", "123456", "variable BCD"),
    ("0D 03 D3 56 34 12", "-123456", "variable negative BCD"),
    ("0D 03 E2 FE FF", "-2", "variable binary"),
    ("02 24 0A 00", "10", "seconds"),
    ("02 27 0A 00", "864000", "days become seconds"),
    ("04 FB 00 01 00 00 00", "100000", "0.1 MWh"),
    ("04 FB 8C 74 01 00 00 00", "1000", "Mcal with a correction of 0.01"),
    ("02 FD 48 FC 08", "230.0", "voltage"),
    ("02 FD 59 D2 04", "1.234", "current"),
    ("04 93 7D 01 00 00 00", "1", "a thousand times"),
    ("02 FB 2E 13 02", "53.1", "frequency of ext. table"),
]


@pytest.mark.parametrize(("text", "number", "_why"), NUMBERS, ids=[row[2] for row in NUMBERS])
def test_numbers_are_exact(text: str, number: str, _why: str) -> None:
    assert _only(text).number == Decimal(number)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("42 6C FF 0C", "2007-12-31"),
        ("02 6C 21 A1", None),
        ("04 6D 0F 0A 6A 17", None),
        ("04 6D 19 0F 8A 17", "2012-07-10T15:25:00"),
        ("04 6D 99 0F 8A 17", None),
        ("06 6D 1E 19 0F 8A 17 00", "2012-07-10T15:25:30"),
        ("03 6D 1E 19 0F", "T15:25:30"),
        ("03 6D 3F 3F 1F", None),
        ("42 6C 00 00", None),
        ("42 6C FF FF", None),
    ],
)
def test_dates_are_told_or_invalid_never_guessed(text: str, moment: str | None) -> None:
    value = _only(text).value
    if text in ("02 6C 21 A1", "04 6D 0F 0A 6A 17"):
        assert isinstance(value, Moment)
    elif moment is None:
        assert isinstance(value, Invalid)
    else:
        assert isinstance(value, Moment)
        assert value.text == moment


@pytest.mark.parametrize(
    "text",
    ["0C 13 FF FF FF FF", "0C 13 0A 00 00 00", "09 13 FF", "05 13 00 00 C0 7F", "0D 03 C0", "04 93 18 00 00 00 00", "04 93 15 00 00 00 00"],
)
def test_what_the_meter_marks_invalid_is_never_zero(text: str) -> None:
    record = _only(text)
    assert record.number is None
    assert not record.is_valid
    assert isinstance(record.value, Invalid)


def test_a_value_of_an_error_state_keeps_its_number_and_is_not_valid() -> None:
    record = _only("3C 13 12 00 00 00")
    assert (record.function, record.number, record.is_valid) == (Function.ERROR_STATE, Decimal("0.012"), False)


def test_storage_tariff_and_subunit_come_from_all_difes() -> None:
    record = _only("CC F1 7F 13 01 00 00 00")
    assert (record.storage, record.tariff, record.subunit) == (1 + (1 << 1) + (15 << 5), 3 + (3 << 2), 1 + (1 << 1))


def test_directions_and_phases_are_told() -> None:
    assert _only("04 83 3B 88 13 00 00").named.qualifiers == ("forward only",)
    assert _only("04 83 3C 88 13 00 00").named.qualifiers == ("backward only",)
    assert _only("02 FD C8 FC 02 FC 08").named.qualifiers == ("phase L2",)


def test_text_values_are_turned_round() -> None:
    record = _only("0D 7C 08 44 49 20 2E 74 73 75 63 0A 45 4C 42 59 43 20 54 53 45 54")
    assert (record.name, record.value) == ("cust. ID", "TEST CYBLE")


def test_maker_data_are_kept_raw_and_more_is_announced() -> None:
    last = read_records(bytes.fromhex("01 13 05 0F 01 02 03"))
    more = read_records(bytes.fromhex("2F 01 13 05 1F"))
    assert (last.maker_data, last.more_follow, len(last.records)) == (b"\x01\x02\x03", False, 1)
    assert (more.maker_data, more.more_follow, len(more.records)) == (b"", True, 1)


@pytest.mark.parametrize(
    "text", ["04", "04 13 01", "84" + " 80" * 11 + " 13 01 00 00 00", "04 93" + " 80" * 11 + " 00", "0D 13", "0D 13 FB", "3F"]
)
def test_a_record_that_can_not_be_read_spoils_the_telegram(text: str) -> None:
    with pytest.raises(MeterFault):
        read_records(bytes.fromhex(text))


def test_crc_of_the_radio_standard() -> None:
    assert crc16_en13757(b"123456789") == 0xC2B7


def test_a_compact_frame_needs_its_format_and_then_says_the_same() -> None:
    full = bytes.fromhex("02 5A 2C 01 0C 13 27 04 85 02 0D 78 03 41 42 43")
    formats = Formats()
    heads = format_of(full)
    data = bytes.fromhex("2C 01 27 04 85 02 03 41 42 43")
    compact = crc16_en13757(heads).to_bytes(2, "little") + crc16_en13757(full).to_bytes(2, "little") + data
    with pytest.raises(MeterFault, match="no full frame has shown yet"):
        decode_telegram(0x79, compact, formats)
    whole = decode_telegram(0x78, full, formats)
    assert decode_telegram(0x79, compact, formats).contents == whole.contents
    with pytest.raises(MeterFault, match="does not fit"):
        decode_telegram(0x79, compact[:-1] + b"\x00", formats)


def test_the_fixed_structure_is_read_in_both_codings() -> None:
    bcd = decode_telegram(0x73, bytes.fromhex("93 92 91 90 10 00 05 69 31 65 00 00 69 00 00 00"))
    binary = decode_telegram(0x73, bytes.fromhex("93 92 91 90 10 01 05 69 31 65 00 00 69 00 00 00"))
    assert [r.number for r in bcd.contents.records] == [Decimal(6531_000), Decimal("0.069")]
    assert [r.number for r in binary.contents.records] == [Decimal(0x6531 * 1000), Decimal("0.105")]
    assert bcd.header.identity is not None
    assert bcd.header.identity.commodity == "heat"


@pytest.mark.parametrize(("octets_", "text"), [("3F AC", "1981-12-31"), ("FF 9C", "2079-12-31"), ("FF FC", None), ("1F 8C", "2064-12-31")])
def test_years_above_80_are_of_the_last_century(octets_: str, text: str | None) -> None:
    moment = fields.date(bytes.fromhex(octets_))
    assert (moment.text if isinstance(moment, Moment) else None) == text
