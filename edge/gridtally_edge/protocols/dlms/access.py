"""What a request points at, and what a meter answers when it says no (IEC 62056-5-3, 9.3; IEC 62056-6-2 class 7)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute or a method of a COSEM object: class, logical name, number."""

    class_id: int
    obis: Obis
    index: int

    def octets(self) -> bytes:
        return self.class_id.to_bytes(2, "big") + self.obis.value + self.index.to_bytes(1, "big")

    def __str__(self) -> str:
        return f"class {self.class_id}, {self.obis}, {self.index}"


def attribute(class_id: int, obis: str, index: int) -> Attribute:
    return Attribute(class_id, Obis.of(obis), index)


def read_attribute(reader: Reader) -> Attribute:
    return Attribute(reader.number(2), Obis(reader.take(6)), reader.octet())


class AccessResult(IntEnum):
    """Data-access-result and action-result of the standard."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250


_RESULTS: Final = {int(r): r for r in AccessResult}


@dataclass(frozen=True, slots=True)
class Result:
    """A result code as sent; codes outside the standard keep their number."""

    code: int

    @property
    def ok(self) -> bool:
        return self.code == AccessResult.SUCCESS

    def __str__(self) -> str:
        known = _RESULTS.get(self.code)
        return known.name.lower().replace("_", " ") if known else f"result {self.code}"


_NO_RANGE: Final = frozenset(
    {AccessResult.SCOPE_OF_ACCESS_VIOLATED, AccessResult.OTHER_REASON, AccessResult.TYPE_UNMATCHED}
)


class AccessDenied(MeterFault):
    """The meter answered with a result code instead of a value. The association stays open."""

    def __init__(self, target: Attribute, result: Result) -> None:
        super().__init__(f"{target}: {result}")
        self.target, self.result = target, result

    @property
    def undefined(self) -> bool:
        """The meter has no such object."""
        return self.result.code in (AccessResult.OBJECT_UNDEFINED, AccessResult.OBJECT_UNAVAILABLE)

    @property
    def no_range_access(self) -> bool:
        """What meters answer that know only entry access to a profile."""
        return self.result.code in _NO_RANGE

    @property
    def may_pass(self) -> bool:
        """Worth asking again later."""
        return self.result.code == AccessResult.TEMPORARY_FAILURE


@dataclass(frozen=True, slots=True)
class Selector:
    """Selective access: 1 is a range of a profile, 2 a span of its entries."""

    kind: int
    parameters: Data

    def octets(self) -> bytes:
        return bytes([self.kind]) + axdr.encode(self.parameters)


def read_selector(reader: Reader) -> Selector | None:
    """An optional selector: its flag, then selector and parameters."""
    if not reader.flag():
        return None
    return Selector(reader.octet(), axdr.read_data(reader))


def selector_octets(selector: Selector | None) -> bytes:
    return b"\x00" if selector is None else b"\x01" + selector.octets()


RANGE: Final = 1
ENTRIES: Final = 2


def range_selector(column: Attribute, first: Data, last: Data) -> Selector:
    """Rows whose `column` lies in first..last, both included, with all columns."""
    restricting = axdr.structure(
        Data(Tag.UINT16, column.class_id),
        axdr.octet_string(column.obis.value),
        Data(Tag.INT8, column.index),
        Data(Tag.UINT16, 0),
    )
    return Selector(RANGE, axdr.structure(restricting, first, last, axdr.array()))


def entry_selector(first: int, last: int) -> Selector:
    """Rows number first..last, the oldest being 1, `last` 0 meaning the newest; all columns."""
    span = (Data(Tag.UINT32, first), Data(Tag.UINT32, last), Data(Tag.UINT16, 1), Data(Tag.UINT16, 0))
    return Selector(ENTRIES, axdr.structure(*span))
