"""PDUs a meter sends unasked or instead of an answer (IEC 62056-5-3): notifications, exceptions, blocks of any PDU."""

from __future__ import annotations

from typing import ClassVar, Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, read_attribute
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.octets import Reader, encode_string
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

_OCTET_STRING: Final = 0x09
_CONFIRMED: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class DataNotification:
    """A push. `body` stays as octets, since some meters fill it with their own layout; `data` reads it as A-XDR.

    The time stands as a bare string by the standard; `tagged_time` marks meters that write it as typed data."""

    tags: ClassVar[bytes] = b"\x0f"
    invoke: int
    time: bytes
    body: bytes
    tagged_time: bool = False

    @classmethod
    def from_reader(cls, reader: Reader) -> DataNotification:
        invoke = reader.number(4)
        length = reader.octet()
        tagged = length == _OCTET_STRING
        time = reader.take(reader.octet() if tagged else length)
        if len(time) not in (0, 12):
            raise MeterFault(f"a notification's time has 0 or 12 octets, not {len(time)}")
        return cls(invoke, time, reader.rest(), tagged)

    def octets(self) -> bytes:
        mark = bytes([_OCTET_STRING]) if self.tagged_time else b""
        return self.tags + self.invoke.to_bytes(4, "big") + mark + encode_string(self.time) + self.body

    def data(self) -> Data:
        """The body's value; octets behind it are tolerated."""
        return axdr.read_data(Reader(self.body))


    @property
    def wants_confirmation(self) -> bool:
        """The service-class bit: the meter repeats the push until it is confirmed."""
        return bool(self.invoke & _CONFIRMED)


@dataclass(frozen=True, slots=True)
class DataNotificationConfirm:
    """What a meter waits for that asked for a confirmation; `time` is empty or a date-time of 12 octets."""

    tags: ClassVar[bytes] = b"\x10"
    invoke: int
    time: bytes = b""
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> DataNotificationConfirm:
        return cls(reader.number(4), reader.string(), reader.rest())

    def octets(self) -> bytes:
        return self.tags + self.invoke.to_bytes(4, "big") + encode_string(self.time) + self.trailing


def confirmation_of(push: DataNotification) -> DataNotificationConfirm | None:
    """The answer to a push that wants one, else None."""
    return DataNotificationConfirm(push.invoke) if push.wants_confirmation else None


@dataclass(frozen=True, slots=True)
class EventNotification:
    tags: ClassVar[bytes] = b"\xc2"
    time: bytes | None
    attribute: Attribute
    value: Data
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> EventNotification:
        time = reader.string() if reader.flag() else None
        return cls(time, read_attribute(reader), axdr.read_data(reader), reader.rest())

    def octets(self) -> bytes:
        time = b"\x00" if self.time is None else b"\x01" + encode_string(self.time)
        return self.tags + time + self.attribute.octets() + axdr.encode(self.value) + self.trailing


STATE_ERRORS: Final = {1: "service not allowed", 2: "service unknown"}
SERVICE_ERRORS: Final = {
    1: "operation not possible",
    2: "service not supported",
    3: "other reason",
    4: "PDU too long",
    5: "deciphering error",
    6: "invocation counter error",
}
_COUNTER_ERROR: Final = 6


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """`counter` is the invocation counter the meter expects, with the counter error only."""

    tags: ClassVar[bytes] = b"\xd8"
    state_error: int
    service_error: int
    counter: int | None = None
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> ExceptionResponse:
        state, service = reader.octet(), reader.octet()
        counter = reader.number(4) if service == _COUNTER_ERROR and reader.left >= 4 else None
        return cls(state, service, counter, reader.rest())

    def octets(self) -> bytes:
        counter = b"" if self.counter is None else self.counter.to_bytes(4, "big")
        return self.tags + bytes([self.state_error, self.service_error]) + counter + self.trailing

    def __str__(self) -> str:
        state = STATE_ERRORS.get(self.state_error, f"state error {self.state_error}")
        return f"{state}: {SERVICE_ERRORS.get(self.service_error, f'service error {self.service_error}')}"


@dataclass(frozen=True, slots=True)
class GeneralBlock:
    """A piece of a PDU cut by general block transfer. `control`: 0x80 last, 0x40 streaming, low six bits the window."""

    tags: ClassVar[bytes] = b"\xe0"
    control: int
    number: int
    acknowledged: int
    piece: bytes
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GeneralBlock:
        return cls(reader.octet(), reader.number(2), reader.number(2), reader.string(), reader.rest())

    def octets(self) -> bytes:
        numbers = self.number.to_bytes(2, "big") + self.acknowledged.to_bytes(2, "big")
        return self.tags + bytes([self.control]) + numbers + encode_string(self.piece) + self.trailing

    @property
    def last(self) -> bool:
        return bool(self.control & 0x80)


def join_blocks(blocks: tuple[GeneralBlock, ...]) -> bytes:
    """The PDU of a whole run of blocks numbered 1, 2, ... Raises MeterFault where one is missing or out of order."""
    if not blocks or [b.number for b in blocks] != list(range(1, len(blocks) + 1)):
        raise MeterFault(f"general block transfer: blocks {[b.number for b in blocks]} are not 1 to {len(blocks)}")
    if not blocks[-1].last or any(b.last for b in blocks[:-1]):
        raise MeterFault("general block transfer: the last block is missing")
    return b"".join(block.piece for block in blocks)
