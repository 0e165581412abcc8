"""The objects of a meter: its object list, and one object read with all its attributes by name.

* The list is attribute 2 of the current association: class, version, logical name, and access rights, of which only the
  reading rights of attributes are kept.
* An attribute that the meter refuses is a row with its result, never an end.
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessDenied, Attribute, Result, attribute
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.classes import class_of
from gridtally_edge.protocols.dlms.client import DlmsClient
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

OBJECT_LIST: Final = attribute(15, "0.0.40.0.0.255", 2)
MAX_ATTRIBUTES: Final = 30
_READABLE: Final = frozenset({1, 3, 4, 6})
"""Access modes of class 15 up to version 2 that allow reading; in version 3 bit 0 does, which 1 and 3 have too."""


@dataclass(frozen=True, slots=True)
class CosemObject:
    """`readable` holds the attribute numbers that may be read, empty where the list does not say."""

    class_id: int
    version: int
    obis: Obis
    readable: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AttributeValue:
    """One attribute by name: its value, or the result in its place."""

    index: int
    name: str
    value: Data | Result


def read_objects(client: DlmsClient) -> Conversation[tuple[CosemObject, ...]]:
    """All objects this association sees. Raises AccessDenied, MeterFault or LinkDown."""
    return tuple(object_of(item) for item in axdr.items_of((yield from client.get(OBJECT_LIST))))


def object_of(item: Data) -> CosemObject:
    """One element of the list. Raises MeterFault for anything else."""
    parts = axdr.items_of(item)
    if len(parts) < 3:
        raise MeterFault("an object of the object list lacks its name")
    obis = axdr.octets_of(parts[2])
    if len(obis) != 6:
        raise MeterFault(f"a logical name of {len(obis)} octets")
    readable = _readable(parts[3]) if len(parts) > 3 else ()
    return CosemObject(axdr.integer_of(parts[0]), axdr.integer_of(parts[1]), Obis(obis), readable)


def _readable(rights: Data) -> tuple[int, ...]:
    attributes = axdr.items_of(axdr.items_of(rights)[0]) if axdr.items_of(rights) else ()
    pairs = [axdr.items_of(right)[:2] for right in attributes]
    return tuple(abs(axdr.integer_of(p[0])) for p in pairs if len(p) == 2 and axdr.integer_of(p[1]) in _READABLE)


def find_object(client: DlmsClient, obis: Obis) -> Conversation[CosemObject]:
    """The object of this logical name. Raises MeterFault where the meter has none."""
    for found in (yield from read_objects(client)):
        if found.obis == obis:
            return found
    raise MeterFault(f"the meter has no object {obis} in this association; another client may see it")


def read_object(client: DlmsClient, wanted: CosemObject) -> Conversation[tuple[AttributeValue, ...]]:
    """Every attribute of the object, logical name apart, in order."""
    kind = class_of(wanted.class_id)
    indexes = wanted.readable or tuple(range(2, len(kind.attributes) + 2)) or (2,)
    values = []
    for index in indexes[:MAX_ATTRIBUTES]:
        if index == 1:
            continue
        try:
            value: Data | Result = yield from client.get(Attribute(wanted.class_id, wanted.obis, index))
        except AccessDenied as denied:
            value = denied.result
        values.append(AttributeValue(index, kind.attribute_name(index), value))
    return tuple(values)
