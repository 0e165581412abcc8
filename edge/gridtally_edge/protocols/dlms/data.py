"""The COSEM `Data` type: a value with its tag (IEC 62056-6-2, 4.1.5). axdr.py codes it."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from gridtally_shared.records import dataclass


class Tag(IntEnum):
    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    INT32 = 5
    UINT32 = 6
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INT8 = 15
    INT16 = 16
    UINT8 = 17
    UINT16 = 18
    COMPACT_ARRAY = 19
    INT64 = 20
    UINT64 = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DONT_CARE = 255


@dataclass(frozen=True, slots=True)
class Bits:
    """A bit string: bit 0 is the top bit of the first octet."""

    count: int
    octets: bytes


@dataclass(frozen=True, slots=True)
class TypeShape:
    """What the elements of a compact array look like. `members` for a structure, or one for an array of `count`."""

    tag: Tag
    count: int = 0
    members: tuple[TypeShape, ...] = ()


@dataclass(frozen=True, slots=True)
class CompactArray:
    shape: TypeShape
    items: tuple[Data, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """One typed value. `value` is None, int (boolean, enum and BCD too), bytes (strings, floats, times), `Bits`,
    a tuple of `Data` (array, structure) or a `CompactArray`."""

    tag: Tag
    value: Value


Value: TypeAlias = int | bytes | Bits | tuple[Data, ...] | CompactArray | None
