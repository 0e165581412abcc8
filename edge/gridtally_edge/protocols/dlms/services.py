"""GET, SET and ACTION services (IEC 62056-5-3, 9.3.6 to 9.3.8): one record per PDU, both ways.

Each record has `from_reader` (behind its two tag octets) and `octets` (the whole PDU). Octets behind the PDU are kept
in `trailing`: some meters send them, they carry no value, and a re-encoded PDU is the same as the one received.
"""

from __future__ import annotations

from typing import ClassVar

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import (
    Attribute,
    Result,
    Selector,
    read_attribute,
    read_selector,
    selector_octets,
)
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.octets import Reader, encode_length, encode_string
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class GetRequest:
    tags: ClassVar[bytes] = b"\xc0\x01"
    invoke: int
    attribute: Attribute
    selector: Selector | None = None
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GetRequest:
        return cls(reader.octet(), read_attribute(reader), read_selector(reader), reader.rest())

    def octets(self) -> bytes:
        body = self.attribute.octets() + selector_octets(self.selector)
        return self.tags + bytes([self.invoke]) + body + self.trailing


@dataclass(frozen=True, slots=True)
class GetNextRequest:
    tags: ClassVar[bytes] = b"\xc0\x02"
    invoke: int
    block: int
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GetNextRequest:
        return cls(reader.octet(), reader.number(4), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + self.block.to_bytes(4, "big") + self.trailing


@dataclass(frozen=True, slots=True)
class GetListRequest:
    tags: ClassVar[bytes] = b"\xc0\x03"
    invoke: int
    attributes: tuple[tuple[Attribute, Selector | None], ...]
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GetListRequest:
        invoke = reader.octet()
        pairs = tuple([(read_attribute(reader), read_selector(reader)) for _ in range(reader.length())])
        return cls(invoke, pairs, reader.rest())

    def octets(self) -> bytes:
        body = b"".join(a.octets() + selector_octets(s) for a, s in self.attributes)
        return self.tags + bytes([self.invoke]) + encode_length(len(self.attributes)) + body + self.trailing


def read_outcome(reader: Reader) -> Data | Result:
    choice = reader.octet()
    if choice > 1:
        raise MeterFault(f"0x{choice:02x} is neither data nor a result")
    return Result(reader.octet()) if choice else axdr.read_data(reader)


def outcome_octets(outcome: Data | Result) -> bytes:
    return bytes([1, outcome.code]) if isinstance(outcome, Result) else b"\x00" + axdr.encode(outcome)


@dataclass(frozen=True, slots=True)
class GetResponse:
    tags: ClassVar[bytes] = b"\xc4\x01"
    invoke: int
    outcome: Data | Result
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GetResponse:
        return cls(reader.octet(), read_outcome(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + outcome_octets(self.outcome) + self.trailing


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a long value. `missing` octets were announced and did not come: the piece must not be used."""

    last: bool
    number: int
    content: bytes | Result
    missing: int = 0

    @classmethod
    def from_reader(cls, reader: Reader) -> Block:
        last, number, failed = reader.flag(), reader.number(4), reader.flag()
        if failed:
            return cls(last, number, Result(reader.octet()))
        return cls(last, number, *_read_piece(reader))

    def octets(self) -> bytes:
        head = bytes([self.last]) + self.number.to_bytes(4, "big")
        if isinstance(self.content, Result):
            return head + bytes([1, self.content.code])
        return head + b"\x00" + encode_length(len(self.content) + self.missing) + self.content

    def piece(self) -> bytes:
        """The octets of this block. Raises MeterFault where they are incomplete or a result stands in their place."""
        if isinstance(self.content, Result):
            raise MeterFault(f"block {self.number}: {self.content}")
        if self.missing:
            raise MeterFault(f"block {self.number} is {self.missing} octets short")
        return self.content


def _read_piece(reader: Reader) -> tuple[bytes, int]:
    length = reader.length()
    piece = reader.take(min(length, reader.left))
    return piece, length - len(piece)


@dataclass(frozen=True, slots=True)
class GetBlockResponse:
    tags: ClassVar[bytes] = b"\xc4\x02"
    invoke: int
    block: Block
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GetBlockResponse:
        return cls(reader.octet(), Block.from_reader(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + self.block.octets() + self.trailing


@dataclass(frozen=True, slots=True)
class GetListResponse:
    tags: ClassVar[bytes] = b"\xc4\x03"
    invoke: int
    outcomes: tuple[Data | Result, ...]
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GetListResponse:
        invoke = reader.octet()
        outcomes = tuple([read_outcome(reader) for _ in range(reader.length())])
        return cls(invoke, outcomes, reader.rest())

    def octets(self) -> bytes:
        body = b"".join(outcome_octets(o) for o in self.outcomes)
        return self.tags + bytes([self.invoke]) + encode_length(len(self.outcomes)) + body + self.trailing


@dataclass(frozen=True, slots=True)
class SetRequest:
    tags: ClassVar[bytes] = b"\xc1\x01"
    invoke: int
    attribute: Attribute
    selector: Selector | None
    value: Data
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetRequest:
        invoke, attribute, selector = reader.octet(), read_attribute(reader), read_selector(reader)
        return cls(invoke, attribute, selector, axdr.read_data(reader), reader.rest())

    def octets(self) -> bytes:
        body = self.attribute.octets() + selector_octets(self.selector) + axdr.encode(self.value)
        return self.tags + bytes([self.invoke]) + body + self.trailing


@dataclass(frozen=True, slots=True)
class SetFirstBlockRequest:
    """A long SET: the target and the first piece. `last` and `number` stand before the piece, without a choice."""

    tags: ClassVar[bytes] = b"\xc1\x02"
    invoke: int
    attribute: Attribute
    selector: Selector | None
    last: bool
    number: int
    piece: bytes
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetFirstBlockRequest:
        invoke, attribute, selector = reader.octet(), read_attribute(reader), read_selector(reader)
        return cls(invoke, attribute, selector, reader.flag(), reader.number(4), reader.string(), reader.rest())

    def octets(self) -> bytes:
        target = self.attribute.octets() + selector_octets(self.selector)
        block = bytes([self.last]) + self.number.to_bytes(4, "big") + encode_string(self.piece)
        return self.tags + bytes([self.invoke]) + target + block + self.trailing


@dataclass(frozen=True, slots=True)
class SetBlockRequest:
    tags: ClassVar[bytes] = b"\xc1\x03"
    invoke: int
    last: bool
    number: int
    piece: bytes
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetBlockRequest:
        return cls(reader.octet(), reader.flag(), reader.number(4), reader.string(), reader.rest())

    def octets(self) -> bytes:
        block = bytes([self.last]) + self.number.to_bytes(4, "big") + encode_string(self.piece)
        return self.tags + bytes([self.invoke]) + block + self.trailing


@dataclass(frozen=True, slots=True)
class SetResponse:
    tags: ClassVar[bytes] = b"\xc5\x01"
    invoke: int
    result: Result
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetResponse:
        return cls(reader.octet(), Result(reader.octet()), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke, self.result.code]) + self.trailing


@dataclass(frozen=True, slots=True)
class SetBlockResponse:
    tags: ClassVar[bytes] = b"\xc5\x02"
    invoke: int
    block: int
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetBlockResponse:
        return cls(reader.octet(), reader.number(4), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + self.block.to_bytes(4, "big") + self.trailing


@dataclass(frozen=True, slots=True)
class SetLastBlockResponse:
    tags: ClassVar[bytes] = b"\xc5\x03"
    invoke: int
    result: Result
    block: int
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetLastBlockResponse:
        return cls(reader.octet(), Result(reader.octet()), reader.number(4), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke, self.result.code]) + self.block.to_bytes(4, "big") + self.trailing


@dataclass(frozen=True, slots=True)
class ActionRequest:
    tags: ClassVar[bytes] = b"\xc3\x01"
    invoke: int
    method: Attribute
    parameters: Data | None = None
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionRequest:
        invoke, method = reader.octet(), read_attribute(reader)
        return cls(invoke, method, axdr.read_data(reader) if reader.flag() else None, reader.rest())

    def octets(self) -> bytes:
        body = b"\x00" if self.parameters is None else b"\x01" + axdr.encode(self.parameters)
        return self.tags + bytes([self.invoke]) + self.method.octets() + body + self.trailing


@dataclass(frozen=True, slots=True)
class ActionNextRequest:
    tags: ClassVar[bytes] = b"\xc3\x02"
    invoke: int
    block: int
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionNextRequest:
        return cls(reader.octet(), reader.number(4), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + self.block.to_bytes(4, "big") + self.trailing


@dataclass(frozen=True, slots=True)
class ActionResponse:
    """`outcome` is what the method gave back, if anything."""

    tags: ClassVar[bytes] = b"\xc7\x01"
    invoke: int
    result: Result
    outcome: Data | Result | None = None
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionResponse:
        invoke, result = reader.octet(), Result(reader.octet())
        present = reader.flag() if reader.left else False
        return cls(invoke, result, read_outcome(reader) if present else None, reader.rest())

    def octets(self) -> bytes:
        body = b"\x00" if self.outcome is None else b"\x01" + outcome_octets(self.outcome)
        return self.tags + bytes([self.invoke, self.result.code]) + body + self.trailing


@dataclass(frozen=True, slots=True)
class ActionBlockResponse:
    tags: ClassVar[bytes] = b"\xc7\x02"
    invoke: int
    last: bool
    number: int
    piece: bytes
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionBlockResponse:
        return cls(reader.octet(), reader.flag(), reader.number(4), reader.string(), reader.rest())

    def octets(self) -> bytes:
        block = bytes([self.last]) + self.number.to_bytes(4, "big") + encode_string(self.piece)
        return self.tags + bytes([self.invoke]) + block + self.trailing
