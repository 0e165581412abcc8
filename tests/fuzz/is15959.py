"""IS 15959: settings, event rows, diagnostics, status word, profiles and pushes as a meter might send them."""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.drivers.dlms_table import columns_of, table_rows
from gridtally_edge.drivers.is15959 import Is15959Settings
from gridtally_edge.drivers.is15959_events import event_of, status_events
from gridtally_edge.drivers.is15959_push import hears
from gridtally_edge.drivers.is15959_settings import SETTINGS, Context, diagnostics_of
from gridtally_edge.drivers.is15959_vectors import THREE_PHASE_VECTORS, VECTORS, read_vector
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.octets import Reader

RULE = ClockRule(utc_offset_min=330)
METER = Is15959Settings(17)
_ROW_OF_SETTING = list(SETTINGS.values())


def _values(octets: bytes) -> list[Data]:
    """One value after the other, as far as they go."""
    reader, found = Reader(octets), []
    while reader.left and len(found) < 16:
        found.append(axdr.read_data(reader))
    return found


def _setting(octets: bytes) -> object:
    """The first octet chooses the kind, the rest are its values."""
    row = _ROW_OF_SETTING[octets[0] % len(_ROW_OF_SETTING)] if octets else _ROW_OF_SETTING[0]
    context = Context(RULE)
    wanted = len(row.reads(context))
    values: list[Data | None] = [*_values(octets[1:]), *[None] * wanted]
    return row.record(tuple(values[:wanted]), context)


def _events(octets: bytes) -> object:
    reader = Reader(octets)
    columns = columns_of(axdr.read_data(reader))
    return [event_of(row, {}) for row in table_rows(columns, axdr.read_data(reader), RULE, 0)]


def _spoken(decode: Callable[[Data], object]) -> Callable[[bytes], object]:
    return lambda octets: decode(axdr.decode(octets))


DECODERS: dict[str, Callable[[bytes], object]] = {
    "setting": _setting,
    "events": _events,
    "diagnostics": _spoken(lambda data: diagnostics_of(data, RULE)),
    "status-word": _spoken(lambda data: status_events(data, 0)),
    "profile": read_vector,
    "push": lambda octets: hears(METER, octets, 0),
}

_CALENDAR = bytes.fromhex(
    "00 0902 5331 0101 0203 0902 5331 090c ffff0101ff000000ff800000 0902 5731"
    "0101 0208 0902 5731 1101 1101 1101 1101 1101 1102 1102 0101 0202 1101 0101 0203 0904 06000000 0906 00000a0064ff 120002"
    "0902 5332 0101 0203 0902 5331 090c ffff0101ff000000ff800000 0902 5731".replace(" ", "")
)
_LOG = bytes.fromhex(
    "0102 0204 120008 0906 0000010000ff 0f02 120000 0204 120001 0906 0000600b00ff 0f02 120000"
    "0101 0202 090c 07e8030f050a1e0000feb600 120007".replace(" ", "")
)
_DIAGNOSTICS = bytes.fromhex("0101 0204 0a06 6d656d6f7279 1601 090c 07e8030f050a1e0000feb600 0a00".replace(" ", ""))
_ALERT = bytes.fromhex(
    "0f0000000100 0204 0905 4142433737 0906 0004190900ff 090c 07e8030f050a1e0000feb600"
    "048180 00000000000000000000 10 0000000000".replace(" ", "")
)
_STATUS = bytes.fromhex("048180 40000000000000000000 06 0000000000".replace(" ", ""))

SEEDS: dict[str, list[bytes]] = {
    "setting": [_CALENDAR, *(bytes([kind]) + bytes.fromhex("120384 120001 060000003c") for kind in range(len(_ROW_OF_SETTING)))],
    "events": [_LOG],
    "diagnostics": [_DIAGNOSTICS],
    "status-word": [_STATUS],
    "profile": [vector.data for vector in (*VECTORS, *THREE_PHASE_VECTORS)],
    "push": [_ALERT],
}
