"""SET and ACTION with lists, and ACTION in blocks (IEC 62056-5-3, 9.3.7 and 9.3.8): the rarer PDUs, as in services.py."""

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
from gridtally_edge.protocols.dlms.services import outcome_octets, read_outcome
from gridtally_shared.records import dataclass

Targets = tuple[tuple[Attribute, Selector | None], ...]


def read_targets(reader: Reader) -> Targets:
    return tuple([(read_attribute(reader), read_selector(reader)) for _ in range(reader.length())])


def targets_octets(targets: Targets) -> bytes:
    return encode_length(len(targets)) + b"".join(a.octets() + selector_octets(s) for a, s in targets)


def read_values(reader: Reader) -> tuple[Data, ...]:
    return tuple([axdr.read_data(reader) for _ in range(reader.length())])


def values_octets(values: tuple[Data, ...]) -> bytes:
    return encode_length(len(values)) + b"".join(axdr.encode(value) for value in values)


def _read_methods(reader: Reader) -> tuple[Attribute, ...]:
    return tuple([read_attribute(reader) for _ in range(reader.length())])


def _methods_octets(methods: tuple[Attribute, ...]) -> bytes:
    return encode_length(len(methods)) + b"".join(m.octets() for m in methods)


def _read_results(reader: Reader) -> tuple[Result, ...]:
    return tuple([Result(reader.octet()) for _ in range(reader.length())])


def _results_octets(results: tuple[Result, ...]) -> bytes:
    return encode_length(len(results)) + bytes(result.code for result in results)


@dataclass(frozen=True, slots=True)
class Piece:
    """A block of a long SET or ACTION request."""

    last: bool
    number: int
    octets: bytes

    @classmethod
    def from_reader(cls, reader: Reader) -> Piece:
        return cls(reader.flag(), reader.number(4), reader.string())

    def encoded(self) -> bytes:
        return bytes([self.last]) + self.number.to_bytes(4, "big") + encode_string(self.octets)


@dataclass(frozen=True, slots=True)
class SetListRequest:
    tags: ClassVar[bytes] = b"\xc1\x04"
    invoke: int
    targets: Targets
    values: tuple[Data, ...]
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetListRequest:
        return cls(reader.octet(), read_targets(reader), read_values(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + targets_octets(self.targets) + values_octets(self.values) + self.trailing


@dataclass(frozen=True, slots=True)
class SetListFirstBlockRequest:
    tags: ClassVar[bytes] = b"\xc1\x05"
    invoke: int
    targets: Targets
    piece: Piece
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetListFirstBlockRequest:
        return cls(reader.octet(), read_targets(reader), Piece.from_reader(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + targets_octets(self.targets) + self.piece.encoded() + self.trailing


@dataclass(frozen=True, slots=True)
class SetListResponse:
    tags: ClassVar[bytes] = b"\xc5\x05"
    invoke: int
    results: tuple[Result, ...]
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetListResponse:
        return cls(reader.octet(), _read_results(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + _results_octets(self.results) + self.trailing


@dataclass(frozen=True, slots=True)
class SetListLastBlockResponse:
    tags: ClassVar[bytes] = b"\xc5\x04"
    invoke: int
    results: tuple[Result, ...]
    block: int
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> SetListLastBlockResponse:
        return cls(reader.octet(), _read_results(reader), reader.number(4), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + _results_octets(self.results) + self.block.to_bytes(4, "big") + self.trailing


@dataclass(frozen=True, slots=True)
class ActionListRequest:
    tags: ClassVar[bytes] = b"\xc3\x03"
    invoke: int
    methods: tuple[Attribute, ...]
    parameters: tuple[Data, ...]
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionListRequest:
        return cls(reader.octet(), _read_methods(reader), read_values(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + _methods_octets(self.methods) + values_octets(self.parameters) + self.trailing


@dataclass(frozen=True, slots=True)
class ActionFirstBlockRequest:
    tags: ClassVar[bytes] = b"\xc3\x04"
    invoke: int
    method: Attribute
    piece: Piece
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionFirstBlockRequest:
        return cls(reader.octet(), read_attribute(reader), Piece.from_reader(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + self.method.octets() + self.piece.encoded() + self.trailing


@dataclass(frozen=True, slots=True)
class ActionListFirstBlockRequest:
    tags: ClassVar[bytes] = b"\xc3\x05"
    invoke: int
    methods: tuple[Attribute, ...]
    piece: Piece
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionListFirstBlockRequest:
        return cls(reader.octet(), _read_methods(reader), Piece.from_reader(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + _methods_octets(self.methods) + self.piece.encoded() + self.trailing


@dataclass(frozen=True, slots=True)
class ActionBlockRequest:
    tags: ClassVar[bytes] = b"\xc3\x06"
    invoke: int
    piece: Piece
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionBlockRequest:
        return cls(reader.octet(), Piece.from_reader(reader), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + self.piece.encoded() + self.trailing


@dataclass(frozen=True, slots=True)
class ActionListResponse:
    """Each method's result and what it gave back, if anything."""

    tags: ClassVar[bytes] = b"\xc7\x03"
    invoke: int
    outcomes: tuple[tuple[Result, Data | Result | None], ...]
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionListResponse:
        invoke = reader.octet()
        return cls(invoke, tuple([_read_acted(reader) for _ in range(reader.length())]), reader.rest())

    def octets(self) -> bytes:
        body = b"".join(bytes([r.code]) + (b"\x00" if o is None else b"\x01" + outcome_octets(o)) for r, o in self.outcomes)
        return self.tags + bytes([self.invoke]) + encode_length(len(self.outcomes)) + body + self.trailing


def _read_acted(reader: Reader) -> tuple[Result, Data | Result | None]:
    return Result(reader.octet()), read_outcome(reader) if reader.flag() else None


@dataclass(frozen=True, slots=True)
class ActionNextResponse:
    """The meter took a block of a long ACTION request."""

    tags: ClassVar[bytes] = b"\xc7\x04"
    invoke: int
    block: int
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ActionNextResponse:
        return cls(reader.octet(), reader.number(4), reader.rest())

    def octets(self) -> bytes:
        return self.tags + bytes([self.invoke]) + self.block.to_bytes(4, "big") + self.trailing
