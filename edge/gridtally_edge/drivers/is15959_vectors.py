"""Vectors of the IS 15959 driver: a profile's capture objects, its scaler profile's, the scalers, and the buffer.

The octets were put together by hand from the object lists of the standard and the coding rules of IEC 62056-5-3, so
they check the driver's table against the documents and not against our own encoder.
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.drivers.dlms_table import columns_of, quantity_cells, scalers_of, table_rows
from gridtally_edge.drivers.driver import Origin, Vector
from gridtally_edge.protocols.dlms.axdr import read_data
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.octets import Reader

_INSTANT_OCTETS: Final = """
01 04  02 04 12 00 08 09 06 00 00 01 00 00 ff 0f 02 12 00 00    capture objects: clock,
       02 04 12 00 03 09 06 01 00 0c 07 00 ff 0f 02 12 00 00    voltage,
       02 04 12 00 03 09 06 01 00 0d 07 00 ff 0f 02 12 00 00    power factor,
       02 04 12 00 03 09 06 01 00 01 08 00 ff 0f 02 12 00 00    cumulative Wh
01 03  02 04 12 00 03 09 06 01 00 01 08 00 ff 0f 03 12 00 00    scaler profile in another order: Wh,
       02 04 12 00 03 09 06 01 00 0c 07 00 ff 0f 03 12 00 00    voltage,
       02 04 12 00 03 09 06 01 00 0d 07 00 ff 0f 03 12 00 00    power factor
01 01  02 03 02 02 0f 00 16 1e 02 02 0f fe 16 23 02 02 0f fd 16 ff    10^0 Wh, 10^-2 V, 10^-3
01 01  02 04 09 0c 07 e8 03 0f 05 0a 1e 00 00 fe b6 00          15 March 2024 10:30:00, deviation -330
       12 5a 3c 10 03 b6 06 00 12 d6 87                         23100, 950, 1234567
"""
_BLOCK_OCTETS: Final = """
01 03  02 04 12 00 08 09 06 00 00 01 00 00 ff 0f 02 12 00 00    capture objects: clock,
       02 04 12 00 03 09 06 01 00 01 1d 00 ff 0f 02 12 00 00    block Wh,
       02 04 12 00 03 09 06 01 00 0c 1b 00 ff 0f 02 12 00 00    average voltage
01 02  02 04 12 00 03 09 06 01 00 01 1d 00 ff 0f 03 12 00 00    scaler profile: block Wh,
       02 04 12 00 03 09 06 01 00 0c 1b 00 ff 0f 03 12 00 00    average voltage
01 01  02 02 02 02 0f 01 16 1e 02 02 0f ff 16 23                10^1 Wh, 10^-1 V
01 02  02 03 09 0c 07 e8 03 0f 05 0a 1e 00 00 fe b6 00          block that ends 10:30
       12 00 0c 12 09 06                                        12, 2310
       02 03 00 12 00 0d 00                                     no clock: 10:45; 13, voltage as above
"""


def _octets(listing: str) -> bytes:
    """The octets of a listing; a comment starts at four spaces behind them."""
    return b"".join(bytes.fromhex(line.strip().split("    ")[0]) for line in listing.strip().splitlines())


VECTORS: Final = (
    Vector(
        "instantaneous profile",
        Origin.DOCUMENT,
        "IS 15959 part 2, single-phase instantaneous parameters and their scaler profile; IEC 62056-5-3 A-XDR",
        (
            ("time_ms", "1710478800000"),
            ("voltage_mv", "231000"),
            ("power_factor_milli", "950"),
            ("energy_import_wh", "1234567"),
        ),
        _octets(_INSTANT_OCTETS),
    ),
    Vector(
        "block load profile with a null clock and a null cell",
        Origin.DOCUMENT,
        "IS 15959 part 2, single-phase block load survey; IEC 62056-6-2 class 7, compressed buffer",
        (
            ("time_ms", "1710478800000"),
            ("interval_import_wh", "120"),
            ("interval_voltage_mv", "231000"),
            ("time_ms", "1710479700000"),
            ("interval_import_wh", "130"),
            ("interval_voltage_mv", "231000"),
        ),
        _octets(_BLOCK_OCTETS),
    ),
)


_THREE_PHASE_INSTANT: Final = """
01 06  02 04 12 00 08 09 06 00 00 01 00 00 ff 0f 02 12 00 00    capture objects: clock,
       02 04 12 00 03 09 06 01 00 1f 07 00 ff 0f 02 12 00 00    current R,
       02 04 12 00 03 09 06 01 00 34 07 00 ff 0f 02 12 00 00    voltage Y,
       02 04 12 00 03 09 06 01 00 01 07 00 ff 0f 02 12 00 00    active power, signed,
       02 04 12 00 03 09 06 01 00 02 08 00 ff 0f 02 12 00 00    cumulative Wh export,
       02 04 12 00 01 09 06 00 00 5e 5b 00 ff 0f 02 12 00 00    tamper count, no scaler
01 04  02 04 12 00 03 09 06 01 00 1f 07 00 ff 0f 03 12 00 00    scaler profile: current R,
       02 04 12 00 03 09 06 01 00 34 07 00 ff 0f 03 12 00 00    voltage Y,
       02 04 12 00 03 09 06 01 00 01 07 00 ff 0f 03 12 00 00    active power,
       02 04 12 00 03 09 06 01 00 02 08 00 ff 0f 03 12 00 00    Wh export
01 01  02 04 02 02 0f fd 16 21 02 02 0f ff 16 23 02 02 0f 00 16 1b 02 02 0f 03 16 1e    10^-3 A, 10^-1 V, W, kWh
01 01  02 06 09 0c 07 e8 03 0f 05 0a 1e 00 00 fe b6 00          15 March 2024 10:30:00, deviation -330
       06 00 00 13 88 12 09 0b 05 ff ff ff 38 06 00 00 00 07    5000, 2315, -200, 7
       12 00 03                                                 3
"""
_BILLING_OCTETS: Final = """
01 04  02 04 12 00 03 09 06 00 00 00 01 02 ff 0f 02 12 00 00    capture objects: billing time stamp,
       02 04 12 00 03 09 06 01 00 01 08 00 ff 0f 02 12 00 00    cumulative Wh,
       02 04 12 00 03 09 06 01 00 01 08 02 ff 0f 02 12 00 00    cumulative Wh of time zone 2,
       02 04 12 00 04 09 06 01 00 01 06 00 ff 0f 02 12 00 00    maximum demand W
01 03  02 04 12 00 03 09 06 01 00 01 08 00 ff 0f 03 12 00 00    scaler profile: Wh,
       02 04 12 00 03 09 06 01 00 01 08 02 ff 0f 03 12 00 00    Wh of time zone 2,
       02 04 12 00 04 09 06 01 00 01 06 00 ff 0f 03 12 00 00    maximum demand
01 01  02 03 02 02 0f 00 16 1e 02 02 0f 00 16 1e 02 02 0f 01 16 1b    Wh, Wh, 10 W
01 01  02 04 09 0c 07 e8 04 01 01 00 00 00 00 fe b6 00          1 April 2024 00:00:00, deviation -330
       06 00 12 d6 87 06 00 01 86 a0 12 01 2c                   1234567, 100000, 300
"""
THREE_PHASE_VECTORS: Final = (
    Vector(
        "three-phase instantaneous profile",
        Origin.DOCUMENT,
        "IS 15959 part 2, three-phase instantaneous parameters and their scaler profile; IEC 62056-5-3 A-XDR",
        (
            ("time_ms", "1710478800000"),
            ("current_l1_ma", "5000"),
            ("voltage_l2_mv", "231500"),
            ("power_w", "-200"),
            ("energy_export_wh", "7000"),
            ("tamper_count", "3"),
        ),
        _octets(_THREE_PHASE_INSTANT),
    ),
    Vector(
        "billing profile with a time zone and a maximum demand",
        Origin.DOCUMENT,
        "IS 15959 part 2, billing profile parameters; IEC 62056-6-2 classes 3, 4 and 7",
        (
            ("time_ms", "1711909800000"),
            ("energy_import_wh", "1234567"),
            ("energy_import_rate2_wh", "100000"),
            ("demand_max_w", "3000"),
        ),
        _octets(_BILLING_OCTETS),
    ),
)


def read_vector(octets: bytes) -> tuple[tuple[str, str], ...]:
    """Names and values of a vector, row by row; `time_ms` is the row's stamp. Raises MeterFault."""
    reader = Reader(octets)
    columns = columns_of(read_data(reader))
    scalers = scalers_of(columns_of(read_data(reader)), read_data(reader))
    found: list[tuple[str, str]] = []
    for row in table_rows(columns, read_data(reader), ClockRule(utc_offset_min=330), 900):
        found.append(("time_ms", str(row.at_ms)))
        found.extend((quantity.name, str(value)) for quantity, value in quantity_cells(row, scalers))
    return tuple(found)
