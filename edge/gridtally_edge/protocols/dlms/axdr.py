"""A-XDR coding of the COSEM `Data` type (IEC 62056-5-3, IEC 61334-6); profile buffers go through bulk.py.

* A value keeps its tag, so whatever was decoded encodes to the same octets.
* Depth, number of items and every length are bounded: a decoder fed any octets returns or raises `MeterFault`.
* Numbers with a point keep their octets; `number` reads them exactly as `Decimal`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from gridtally_edge.protocols.dlms.bulk import table_at
from gridtally_edge.protocols.dlms.data import Bits, CompactArray, Data, Tag, TypeShape, Value
from gridtally_edge.protocols.dlms.octets import Reader, encode_length, encode_string
from gridtally_shared.errors import MeterFault

__all__ = [
    "Bits",
    "CompactArray",
    "Data",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "NULL",
    "Tag",
    "TypeShape",
    "Value",
    "array",
    "decode",
    "encode",
    "integer_of",
    "items_of",
    "number_of",
    "octet_string",
    "octets_of",
    "read_data",
    "structure",
    "text_of",
]

MAX_DEPTH: Final = 24
MAX_ITEMS: Final = 400_000


_SIGNED: Final = {Tag.INT8: 1, Tag.INT16: 2, Tag.INT32: 4, Tag.INT64: 8}
_UNSIGNED: Final = {
    Tag.BOOLEAN: 1, Tag.BCD: 1, Tag.UINT8: 1, Tag.UINT16: 2, Tag.UINT32: 4, Tag.UINT64: 8, Tag.ENUM: 1,
}  # fmt: skip
_FIXED: Final = {Tag.FLOAT32: 4, Tag.FLOAT64: 8, Tag.DATE_TIME: 12, Tag.DATE: 5, Tag.TIME: 4}
_STRINGS: Final = frozenset({Tag.OCTET_STRING, Tag.VISIBLE_STRING, Tag.UTF8_STRING})
_EMPTY: Final = frozenset({Tag.NULL, Tag.DONT_CARE})
_TAGS: Final = {int(t): t for t in Tag}
_FLOATS: Final = {Tag.FLOAT32: ">f", Tag.FLOAT64: ">d"}


class _Decoder:
    """One decoding run; `items` counts what was made, so that no few octets expand without end."""

    __slots__ = ("items", "reader")

    def __init__(self, reader: Reader) -> None:
        self.reader, self.items = reader, 0

    def tagged(self, depth: int) -> Data:
        return self.body(_tag(self.reader.octet()), depth)

    def count(self, depth: int) -> None:
        self.items += 1
        if self.items > MAX_ITEMS or depth > MAX_DEPTH:
            raise MeterFault("data nested too deep or with too many items")

    def body(self, tag: Tag, depth: int) -> Data:
        self.count(depth)
        return Data(tag, _READ[tag](self, tag, depth))

    def signed(self, tag: Tag, depth: int) -> int:
        return int.from_bytes(self.reader.take(_SIGNED[tag]), "big", signed=True)

    def unsigned(self, tag: Tag, depth: int) -> int:
        return int.from_bytes(self.reader.take(_UNSIGNED[tag]), "big")

    def fixed(self, tag: Tag, depth: int) -> bytes:
        return self.reader.take(_FIXED[tag])

    def string(self, tag: Tag, depth: int) -> bytes:
        return self.reader.string()

    def nothing(self, tag: Tag, depth: int) -> None:
        return None

    def bits(self, tag: Tag, depth: int) -> Bits:
        count = self.reader.length()
        return Bits(count, self.reader.take((count + 7) // 8))

    def items_of(self, tag: Tag, depth: int) -> tuple[Data, ...]:
        count = self.reader.length()
        if count > self.reader.left:
            raise MeterFault(f"{count} items announced, {self.reader.left} octets left")
        return tuple([self.tagged(depth + 1) for _ in range(count)])

    def compact(self, tag: Tag, depth: int) -> CompactArray:
        shape = self.shape(depth + 1)
        contents = _Decoder(Reader(self.reader.string()))
        contents.items = self.items
        if contents.reader.left and not _needs_octets(shape):
            raise MeterFault("a compact array of empty elements")
        items: list[Data] = []
        while contents.reader.left:
            items.append(contents.shaped(shape, depth + 1))
        self.items = contents.items
        return CompactArray(shape, tuple(items))

    def shape(self, depth: int) -> TypeShape:
        tag = _tag(self.reader.octet())
        self.count(depth)
        if tag is Tag.ARRAY:
            return TypeShape(tag, self.reader.number(2), (self.shape(depth + 1),))
        if tag is Tag.STRUCTURE:
            return TypeShape(tag, 0, tuple([self.shape(depth + 1) for _ in range(self.reader.length())]))
        if tag is Tag.COMPACT_ARRAY:
            raise MeterFault("a compact array within a compact array")
        return TypeShape(tag)

    def shaped(self, shape: TypeShape, depth: int) -> Data:
        if shape.tag is Tag.ARRAY:
            members = shape.members * shape.count
        elif shape.tag is Tag.STRUCTURE:
            members = shape.members
        else:
            return self.body(shape.tag, depth)
        self.count(depth)
        return Data(shape.tag, tuple([self.shaped(member, depth + 1) for member in members]))


_READ: Final[dict[Tag, Callable[[_Decoder, Tag, int], Value]]] = {
    **dict.fromkeys(_SIGNED, _Decoder.signed),
    **dict.fromkeys(_UNSIGNED, _Decoder.unsigned),
    **dict.fromkeys(_FIXED, _Decoder.fixed),
    **dict.fromkeys(_STRINGS, _Decoder.string),
    **dict.fromkeys(_EMPTY, _Decoder.nothing),
    Tag.ARRAY: _Decoder.items_of,
    Tag.STRUCTURE: _Decoder.items_of,
    Tag.BIT_STRING: _Decoder.bits,
    Tag.COMPACT_ARRAY: _Decoder.compact,
}


def _needs_octets(shape: TypeShape) -> bool:
    """Whether an element of this shape takes any octet at all."""
    if shape.tag is Tag.ARRAY:
        return shape.count > 0 and any(map(_needs_octets, shape.members))
    return any(map(_needs_octets, shape.members)) if shape.tag is Tag.STRUCTURE else shape.tag not in _EMPTY


def _tag(octet: int) -> Tag:
    tag = _TAGS.get(octet)
    if tag is None:
        raise MeterFault(f"0x{octet:02x} is not a data type")
    return tag


def read_data(reader: Reader) -> Data:
    """The next value of a reader, which then stands behind it."""
    table = table_at(reader.data, reader.position)
    if table is not None:
        reader.position = table[1]
        return table[0]
    return _Decoder(reader).tagged(0)


def decode(octets: bytes) -> Data:
    """Exactly one value. Octets left over are a fault; use `read_data` where they are tolerated."""
    reader = Reader(octets)
    data = read_data(reader)
    if reader.left:
        raise MeterFault(f"{reader.left} octets after the value")
    return data


def encode(data: Data) -> bytes:
    """The octets of a value. Raises ValueError for a value that does not fit its tag (our own misuse)."""
    return bytes([data.tag]) + _body(data)


def _body(data: Data) -> bytes:
    tag, value = data.tag, data.value
    if isinstance(value, int):
        size = _SIGNED.get(tag) or _UNSIGNED[tag]
        return _integer(value, size, tag in _SIGNED)
    if isinstance(value, bytes):
        return encode_string(value) if tag in _STRINGS else value
    if isinstance(value, Bits):
        return encode_length(value.count) + value.octets
    if isinstance(value, CompactArray):
        return _shape_octets(value.shape) + encode_string(b"".join(_bare(item) for item in value.items))
    if isinstance(value, tuple):
        return encode_length(len(value)) + b"".join([encode(item) for item in value])
    return b""


def _bare(data: Data) -> bytes:
    if data.tag in (Tag.ARRAY, Tag.STRUCTURE) and isinstance(data.value, tuple):
        return b"".join(_bare(item) for item in data.value)
    return _body(data)


def _integer(value: int, size: int, signed: bool) -> bytes:
    try:
        return value.to_bytes(size, "big", signed=signed)
    except OverflowError:
        raise ValueError(f"{value} does not fit {size} octets") from None


def _shape_octets(shape: TypeShape) -> bytes:
    inner = b"".join(_shape_octets(member) for member in shape.members)
    if shape.tag is Tag.ARRAY:
        return bytes([shape.tag]) + shape.count.to_bytes(2, "big") + inner
    if shape.tag is Tag.STRUCTURE:
        return bytes([shape.tag]) + encode_length(len(shape.members)) + inner
    return bytes([shape.tag])


NULL: Final = Data(Tag.NULL, None)


def structure(*items: Data) -> Data:
    return Data(Tag.STRUCTURE, items)


def array(*items: Data) -> Data:
    return Data(Tag.ARRAY, items)


def octet_string(octets: bytes) -> Data:
    return Data(Tag.OCTET_STRING, octets)


def items_of(data: Data) -> tuple[Data, ...]:
    """The items of an array, structure or compact array. Raises MeterFault for anything else."""
    if isinstance(data.value, tuple):
        return data.value
    if isinstance(data.value, CompactArray):
        return data.value.items
    raise MeterFault(f"expected a list of values, the meter sent {data.tag.name.lower()}")


def integer_of(data: Data) -> int:
    """A whole number. Raises MeterFault for anything else."""
    if isinstance(data.value, int):
        return data.value
    raise MeterFault(f"expected a whole number, the meter sent {data.tag.name.lower()}")


def octets_of(data: Data) -> bytes:
    """The octets of a string or time. Raises MeterFault for anything else."""
    if isinstance(data.value, bytes) and data.tag not in _FLOATS:
        return data.value
    raise MeterFault(f"expected octets, the meter sent {data.tag.name.lower()}")


def number_of(data: Data) -> int | Decimal:
    """A number, exact: floats as the decimal they print as. Raises MeterFault for NaN, infinity and anything else."""
    form = _FLOATS.get(data.tag)
    if form is None or not isinstance(data.value, bytes):
        return integer_of(data)
    (value,) = struct.unpack(form, data.value)
    if not math.isfinite(value):
        raise MeterFault(f"the meter sent {value} where a number belongs")
    exact = (t for t in (f"{value:.{digits}g}" for digits in range(6, 18)) if _packs_to(form, t, data.value))
    return Decimal(next(exact))


def _packs_to(form: str, text: str, octets: bytes) -> bool:
    try:
        return struct.pack(form, float(text)) == octets
    except OverflowError:
        return False


def text_of(data: Data) -> str:
    """A string for people: printable ASCII or UTF-8 as text (trailing NULs dropped), other octets as hexadecimal."""
    octets = octets_of(data).rstrip(b"\x00")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.hex()
    return text if text.isprintable() else octets.hex()
