"""Rows of a block load profile as IS 15959 meters give them: status, order, repeats and short ones become quality, never a guess."""

from __future__ import annotations

import pytest

from gridtally_edge.drivers.dlms_table import table_rows
from gridtally_edge.drivers.is15959 import CLOCK, DlmsPort, Is15959Settings
from gridtally_edge.drivers.is15959_profiles import BLOCK_LOAD, Layout
from gridtally_edge.drivers.model import Reading
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.axdr import decode
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.scaling import ScalerUnit
from gridtally_shared.quality import Quality

QUARTER_MS = 900_000
ROW = "02 03 09 0c 07 e8 03 0f 05 {time} 00 fe b6 {clock} 12 {wh} 11 {status}"
COLUMNS = (CLOCK, INTERVAL := attribute(3, "1.0.1.29.0.255", 2), attribute(1, "0.0.96.10.1.255", 2))


def blocks(*rows: tuple[str, str, str, str]) -> tuple[Reading, ...]:
    """Readings of rows made by hand: time, clock status, Wh, profile status."""
    port = DlmsPort(Is15959Settings(17))
    listing = "".join(ROW.format(time=t, clock=c, wh=w, status=s) for t, c, w, s in rows)
    buffer = decode(bytes.fromhex(f"01 {len(rows):02x} {listing}".replace(" ", "")))
    profiles = port._profiles
    layout = Layout(COLUMNS, {INTERVAL.obis: ScalerUnit(0, 30)})
    assert list(table_rows(COLUMNS, buffer, ClockRule(utc_offset_min=330), 900))
    profiles._layouts[BLOCK_LOAD.obis] = layout
    profiles._period_known = True
    conversation = profiles.read_blocks(0, 1 << 50)
    profiles.span = lambda *_: (yield from given(buffer))
    with pytest.raises(StopIteration) as end:
        next(conversation)
    return end.value.value


def given(buffer):
    yield from ()
    return buffer


@pytest.mark.parametrize(
    ("clock", "status", "flag"),
    [
        ("00", "00", Quality.OK),
        ("01", "00", Quality.CLOCK_UNCERTAIN),
        ("02", "00", Quality.CLOCK_UNCERTAIN),
        ("00", "01", Quality.METER_INVALID),
        ("00", "02", Quality.CLOCK_UNCERTAIN),
        ("00", "04", Quality.METER_INVALID),
        ("00", "20", Quality.CLOCK_UNCERTAIN),
        ("00", "80", Quality.POWER_FAIL),
        ("00", "84", Quality.POWER_FAIL | Quality.METER_INVALID),
    ],
)
def test_the_status_of_a_row_becomes_quality(clock: str, status: str, flag: Quality) -> None:
    (reading,) = blocks(("0a 1e 00", clock, "00 0c", status))
    assert (reading.value, Quality(reading.quality)) == (12, flag)


def test_rows_out_of_order_come_in_order() -> None:
    found = blocks(("0a 2d 00", "00", "00 0d", "00"), ("0a 1e 00", "00", "00 0c", "00"))
    assert [r.value for r in found] == [12, 13]


def test_a_row_sent_twice_is_one_reading() -> None:
    assert [r.value for r in blocks(*[("0a 1e 00", "00", "00 0c", "00")] * 2)] == [12]


def test_two_values_for_one_moment_are_doubted() -> None:
    (reading,) = blocks(("0a 1e 00", "00", "00 0c", "00"), ("0a 1e 00", "00", "00 0d", "00"))
    assert (reading.value, reading.quality) == (13, int(Quality.METER_INVALID))


def test_a_row_shorter_than_the_period_is_partial() -> None:
    first, second = blocks(("0a 1e 00", "00", "00 0c", "00"), ("0a 23 00", "00", "00 05", "00"))
    assert second.at_ms - first.at_ms == 900_000
    assert second.quality == int(Quality.PARTIAL)
