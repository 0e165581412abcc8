"""The values in a push: which OBIS code belongs to which value, whatever layout the maker chose.

* Layouts seen on real meters: (code, value, scaler and unit) structures; the same three flat in one list; flat pairs
  without scaler; a list of capture objects followed by their values; untagged attribute descriptors before values;
  lists without any code (Kaifa), known by their length and list name.
* A value without a scaler in the message has none applied and no unit, unless a maker's published list tells them
  (`_MAKER_SCALES`, `_KAIFA`).
* A nameless date-time is the meter's clock; a nameless text is the list name at the front and the serial at the end.

Sources: recorded pushes of the test data; the makers' HAN lists published by the Norwegian regulator NVE.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import read_attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.cosem_time import CosemDateTime, decode_datetime
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_edge.protocols.dlms.scaling import ScalerUnit, scaled, scaler_unit_of
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

CLOCK: Final = Obis.of("0.0.1.0.0.255")
LIST_NAME: Final = Obis.of("1.1.0.2.129.255")
SERIAL: Final = Obis.of("0.0.96.1.0.255")
METER_TYPE: Final = Obis.of("0.0.96.1.7.255")


@dataclass(frozen=True, slots=True)
class PushValue:
    """`value` is a number with its scaler applied, a time (ISO 8601) or text. `unit` is empty where it is not told."""

    obis: Obis
    value: int | Decimal | str
    unit: str


_W, _VAR, _A, _V, _WH, _VARH = 27, 29, 33, 35, 30, 32
_MAKER_SCALES: Final = {
    "Kamstrup_V": {
        **{(c, 7): ScalerUnit(0, _W) for c in (1, 2)},
        **{(c, 7): ScalerUnit(0, _VAR) for c in (3, 4)},
        **{(c, 7): ScalerUnit(-2, _A) for c in (31, 51, 71)},
        **{(c, 7): ScalerUnit(0, _V) for c in (32, 52, 72)},
        **{(c, 8): ScalerUnit(1, _WH) for c in (1, 2)},
        **{(c, 8): ScalerUnit(1, _VARH) for c in (3, 4)},
    }
}
"""By list name: scaler and unit by the OBIS groups C and D."""


def _kaifa(obis: str, scaler: int, unit: int) -> tuple[Obis, ScalerUnit | None]:
    return Obis.of(obis), ScalerUnit(scaler, unit)


_IDENTITY: Final[tuple[tuple[Obis, ScalerUnit | None], ...]] = ((LIST_NAME, None), (SERIAL, None), (METER_TYPE, None))
_POWER: Final = (
    _kaifa("1.0.1.7.0.255", 0, _W), _kaifa("1.0.2.7.0.255", 0, _W),
    _kaifa("1.0.3.7.0.255", 0, _VAR), _kaifa("1.0.4.7.0.255", 0, _VAR),
)  # fmt: skip
_ONE_PHASE: Final = (_kaifa("1.0.31.7.0.255", -3, _A), _kaifa("1.0.32.7.0.255", -1, _V))
_THREE_PHASES: Final = (
    *(_kaifa(f"1.0.{c}.7.0.255", -3, _A) for c in (31, 51, 71)),
    *(_kaifa(f"1.0.{c}.7.0.255", -1, _V) for c in (32, 52, 72)),
)
_ENERGY: Final[tuple[tuple[Obis, ScalerUnit | None], ...]] = (
    (CLOCK, None),
    _kaifa("1.0.1.8.0.255", 0, _WH), _kaifa("1.0.2.8.0.255", 0, _WH),
    _kaifa("1.0.3.8.0.255", 0, _VARH), _kaifa("1.0.4.8.0.255", 0, _VARH),
)  # fmt: skip
_KAIFA: Final = {
    1: _POWER[:1],
    9: (*_IDENTITY, *_POWER, *_ONE_PHASE),
    13: (*_IDENTITY, *_POWER, *_THREE_PHASES),
    14: (*_IDENTITY, *_POWER, *_ONE_PHASE, *_ENERGY),
    18: (*_IDENTITY, *_POWER, *_THREE_PHASES, *_ENERGY),
}
"""Kaifa's lists carry no codes; the number of values tells which list it is."""


_MAKERS: Final = {"AIDON": "Aidon", "KFM": "Kaifa", "Kamstrup": "Kamstrup", "EMBRIQ": "Landis+Gyr"}


def maker_of(body: bytes) -> str | None:
    """The maker of a Nordic customer-interface list: by its name, or by the layout of the shortest list."""
    try:
        data = axdr.decode(body)
    except MeterFault:
        return None
    items = _parts(data)
    named = _maker_by_name(items)
    if named or len(items) != 1:
        return named
    return {Tag.STRUCTURE: "Kaifa", Tag.ARRAY: "Aidon"}.get(data.tag) if _is_short_list(items[0]) else None


def _maker_by_name(items: tuple[Data, ...]) -> str | None:
    """The list name is the first value, alone or behind its code."""
    first = items[0] if items else axdr.NULL
    for name in (first.value, *(part.value for part in _parts(first)[1:2])):
        for prefix, maker in _MAKERS.items():
            if isinstance(name, bytes) and name.startswith(prefix.encode()):
                return maker
    return None


def _is_short_list(item: Data) -> bool:
    """The only value is the active power, with or without its code."""
    parts = _parts(item)
    return item.tag is Tag.UINT32 or (len(parts) == 3 and _obis(parts[0]) == Obis.of("1.0.1.7.0.255"))


def push_values(body: bytes) -> tuple[PushValue, ...]:
    """The values of a data-notification's body. Raises MeterFault where the body is neither A-XDR nor a known layout."""
    try:
        data = axdr.decode(body)
    except MeterFault:
        descriptors = _descriptor_values(body)
        if descriptors is None:
            raise
        return descriptors
    return values_of(data)


def values_of(data: Data) -> tuple[PushValue, ...]:
    """The named values of any data, in order; empty where nothing is named."""
    if not isinstance(data.value, tuple):
        return ()
    items = data.value
    return _kaifa_values(items) or _captured_values(items) or tuple(_listed(items))


def _kaifa_values(items: tuple[Data, ...]) -> tuple[PushValue, ...]:
    layout = _KAIFA.get(len(items))
    if layout is None or not _is_kaifa(items):
        return ()
    return tuple(_named(obis, data, scale) for (obis, scale), data in zip(layout, items, strict=True))


def _is_kaifa(items: tuple[Data, ...]) -> bool:
    if len(items) == 1:
        return items[0].tag is Tag.UINT32
    return items[0].tag is Tag.OCTET_STRING and axdr.octets_of(items[0]).startswith(b"KFM")


def _captured_values(items: tuple[Data, ...]) -> tuple[PushValue, ...]:
    """A list of capture objects, then their values; the first object may be the list itself."""
    names = [_capture_object(item) for item in _parts(items[0])] if items else []
    if not names or None in names:
        return ()
    values = items[1:]
    if len(names) == len(values) + 1:
        names = names[1:]
    if len(names) != len(values):
        return ()
    return tuple(_named(obis, data, None) for obis, data in zip(names, values, strict=True) if obis)


def _capture_object(item: Data) -> Obis | None:
    parts = _parts(item)
    if len(parts) != 4 or parts[0].tag is not Tag.UINT16 or parts[3].tag is not Tag.UINT16:
        return None
    return _obis(parts[1])


def _listed(items: tuple[Data, ...]) -> Iterator[PushValue]:
    """Codes and values in one list, and in the lists within it."""
    scales = _maker_scales(items)
    position = 0
    while position < len(items):
        obis = _obis(items[position])
        if obis is not None and position + 1 < len(items):
            scale, used = _scale_behind(items, position + 2)
            yield _named(obis, items[position + 1], scale or scales.get((obis.value[2], obis.value[3])))
            position += 2 + used
            continue
        yield from _nameless(items, position)
        position += 1


def _nameless(items: tuple[Data, ...], position: int) -> Iterator[PushValue]:
    data = items[position]
    if isinstance(data.value, tuple):
        yield from values_of(data)
    elif _time(data) is not None:
        yield _named(CLOCK, data, None)
    elif isinstance(data.value, bytes) and data.value and position in (0, len(items) - 1):
        yield _named(SERIAL if position else LIST_NAME, data, None)


def _scale_behind(items: tuple[Data, ...], position: int) -> tuple[ScalerUnit | None, int]:
    """A scaler_unit at this place, and how many items it takes."""
    parts = _parts(items[position]) if position < len(items) else ()
    if len(parts) == 2 and parts[0].tag is Tag.INT8 and parts[1].tag is Tag.ENUM:
        return scaler_unit_of(items[position]), 1
    return None, 0


def _maker_scales(items: tuple[Data, ...]) -> dict[tuple[int, int], ScalerUnit]:
    name = items[0].value if items else None
    if isinstance(name, bytes):
        for maker, scales in _MAKER_SCALES.items():
            if name.startswith(maker.encode()):
                return scales
    return {}


def plain_value(data: Data) -> int | Decimal | str:
    """One value without a name: a number, a time or text. Raises MeterFault for a number that is none."""
    return _named(CLOCK, data, None).value


def _named(obis: Obis, data: Data, scale: ScalerUnit | None) -> PushValue:
    time = _time(data)
    if time is not None:
        return PushValue(obis, time_text(time), "")
    if isinstance(data.value, bytes) and data.tag not in (Tag.FLOAT32, Tag.FLOAT64):
        return PushValue(obis, axdr.text_of(data), "")
    if isinstance(data.value, int | bytes):
        return PushValue(obis, scaled(data, scale.scaler if scale else 0), scale.unit_text if scale else "")
    return PushValue(obis, data.tag.name.lower().replace("_", " "), "")


def _time(data: Data) -> CosemDateTime | None:
    """A date-time, also where it is sent as an octet string, which is known by its impossible texts."""
    if data.tag not in (Tag.OCTET_STRING, Tag.DATE_TIME) or not isinstance(data.value, bytes) or len(data.value) != 12:
        return None
    try:
        time = decode_datetime(data.value)
        time.local()
    except MeterFault:
        return None
    return time if abs(time.deviation_min) <= 840 or not time.has_deviation else None


def known_time(octets: bytes) -> str | None:
    """A notification's own time as text, None where it is absent or not a whole moment."""
    time = _time(Data(Tag.OCTET_STRING, octets))
    return time_text(time) if time else None


def time_text(time: CosemDateTime) -> str:
    """ISO 8601, with the offset east of UTC where the meter tells its deviation."""
    local = time.local().isoformat(timespec="seconds")
    if not time.has_deviation:
        return local
    hours, minutes = divmod(abs(time.deviation_min), 60)
    return f"{local}{'-' if time.deviation_min > 0 else '+'}{hours:02d}:{minutes:02d}"


def _obis(data: Data) -> Obis | None:
    """Six octets that end in 255 or name an abstract or electricity object."""
    if data.tag is not Tag.OCTET_STRING or not isinstance(data.value, bytes) or len(data.value) != 6:
        return None
    return Obis(data.value) if data.value[0] < 16 else None


def _parts(data: Data) -> tuple[Data, ...]:
    return data.value if isinstance(data.value, tuple) else ()


def _descriptor_values(body: bytes) -> tuple[PushValue, ...] | None:
    """Structure of a number and an array of pairs: an untagged attribute descriptor (class, code, attribute), a value."""
    reader = Reader(body)
    try:
        if reader.take(2) != b"\x02\x02":
            return None
        axdr.read_data(reader)
        if reader.octet() != Tag.ARRAY:
            return None
        return tuple([_descriptor_pair(reader) for _ in range(reader.length())])
    except MeterFault:
        return None


def _descriptor_pair(reader: Reader) -> PushValue:
    if reader.take(2) != b"\x02\x02":
        raise MeterFault("a pair of descriptor and value was due")
    target = read_attribute(reader)
    return _named(target.obis, axdr.read_data(reader), None)
