"""The name plate of an IS 15959 meter: which object says what, asked in one list, or the profile that holds them all."""

from __future__ import annotations

from typing import Final

from gridtally_edge.drivers.model import NamePlate
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessResult, Attribute, Result, attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis

_PARTS: Final[tuple[tuple[str, Attribute], ...]] = (
    ("serial", attribute(1, "0.0.96.1.0.255", 2)),
    ("maker", attribute(1, "0.0.96.1.1.255", 2)),
    ("model", attribute(1, "0.0.94.91.9.255", 2)),
    ("firmware", attribute(1, "1.0.0.2.0.255", 2)),
    ("category", attribute(1, "0.0.94.91.11.255", 2)),
    ("current_rating", attribute(1, "0.0.94.91.12.255", 2)),
    ("year", attribute(1, "0.0.96.1.4.255", 2)),
    ("device_id", attribute(1, "0.0.96.1.2.255", 2)),
)
PLATE: Final = tuple(target for _, target in _PARTS)
PLATE_PROFILES: Final = (Obis.of("0.0.94.91.10.255"), Obis.of("1.0.94.91.10.255"))
_TEXTS: Final = frozenset({Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING})


def name_plate_of(outcomes: tuple[Data | Result, ...]) -> NamePlate:
    """An object the meter lacks is an empty text. Raises MeterFault for what is neither text nor number."""
    texts = {name: _text(outcome) for (name, _), outcome in zip(_PARTS, outcomes, strict=True)}
    return NamePlate(**texts)


def is_bare(plate: NamePlate) -> bool:
    """The single objects told no more than the serial: the meter may have its name plate as a profile."""
    return not (plate.maker or plate.model or plate.firmware)


def plate_of_profile(columns: tuple[Attribute, ...], buffer: Data) -> NamePlate:
    """The same from the name plate profile. Raises MeterFault where rows and columns do not fit."""
    rows = axdr.items_of(buffer)
    cells = axdr.items_of(rows[0]) if rows else ()
    if len(rows) != 1 or len(cells) != len(columns):
        raise MeterFault("the name plate profile is one row of its columns")
    held = {column.obis: cell for column, cell in zip(columns, cells, strict=True)}
    return name_plate_of(tuple(held.get(target.obis, _ABSENT) for target in PLATE))


_ABSENT: Final = Result(AccessResult.OBJECT_UNDEFINED)


def _text(outcome: Data | Result) -> str:
    if isinstance(outcome, Result) or outcome.tag is Tag.NULL:
        return ""
    return axdr.text_of(outcome) if outcome.tag in _TEXTS else str(axdr.integer_of(outcome))
