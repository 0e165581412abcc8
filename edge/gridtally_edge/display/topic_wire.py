"""The packets of MQTT 3.1.1 and 5 that a read-only server needs: what a client asks, and what it is answered. Pure.

* Everything a client sends is checked before it is believed; whatever can not be read is a `WireError`, and the connection ends.
* Of the properties of version 5 only Receive Maximum does not matter here (one message is under way at a time); Maximum Packet
  Size is kept, the others are skipped.

Source: OASIS MQTT 3.1.1 and MQTT 5.0, chapters 2 and 3.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

V3, V5 = 4, 5
LARGEST_PACKET = 4_096
"""What a display device sends is short."""
PACKET_SIZE = 0x27
FIXED_SIZES = {0x01: 1, 0x02: 4, 0x11: 4, 0x13: 2, 0x17: 1, 0x18: 4, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1,
               PACKET_SIZE: 4, 0x28: 1, 0x29: 1, 0x2A: 1}  # fmt: skip
TEXTS = {0x03: 1, 0x08: 1, 0x09: 1, 0x12: 1, 0x15: 1, 0x16: 1, 0x1A: 1, 0x1C: 1, 0x1F: 1, 0x26: 2}
"""Properties of one string or of a pair of them."""
SUBSCRIPTION_ID = 0x0B


class Type(IntEnum):
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Refusal(IntEnum):
    """Reason codes of version 5; `CONNECT_V3` has those of the first answer in 3.1.1."""

    PROTOCOL_ERROR = 0x82
    VERSION = 0x84
    WRONG_PIN = 0x86
    NOT_AUTHORISED = 0x87
    BUSY = 0x89
    TOO_LARGE = 0x95
    TOO_MANY_TRIES = 0x9F
    PIN_CHANGED = 0x98


CONNECT_V3 = {Refusal.VERSION: 1, Refusal.BUSY: 3, Refusal.TOO_MANY_TRIES: 3, Refusal.WRONG_PIN: 4}


class WireError(ContractError):
    """Not MQTT, or not for a server that only tells."""


@dataclass(frozen=True, slots=True)
class Connect:
    """`keepalive_s` 0: none. `largest` is the longest packet the client takes, 0 for any."""

    version: int
    client_id: str
    account: str
    pin: str
    keepalive_s: int
    largest: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """One topic filter of a SUBSCRIBE. `retained_as_sent` and `on_subscribe` (0 always, 1 when new, 2 never) are of version 5."""

    topic: str
    qos: int
    retained_as_sent: bool = False
    on_subscribe: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    packet_id: int
    wishes: tuple[Wish, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    packet_id: int
    topics: tuple[str, ...]


@dataclass(slots=True)
class _Bytes:
    """A packet's body, read from the front."""

    data: bytes
    place: int = 0

    @property
    def is_done(self) -> bool:
        return self.place >= len(self.data)

    def take(self, count: int) -> bytes:
        part = self.data[self.place : self.place + count]
        if len(part) != count:
            raise WireError("the packet ends too early")
        self.place += count
        return part

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        try:
            return self.binary().decode()
        except UnicodeDecodeError:
            raise WireError("a text is not UTF-8") from None

    def length(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise WireError("a length has more than four bytes")

    def properties(self, version: int) -> dict[int, int]:
        """Those of a number; the others are only skipped."""
        found: dict[int, int] = {}
        if version != V5:
            return found
        inside = _Bytes(self.take(self.length()))
        while not inside.is_done:
            name = inside.length()
            if name in FIXED_SIZES:
                found[name] = inside.number(FIXED_SIZES[name])
            elif name == SUBSCRIPTION_ID:
                found[name] = inside.length()
            elif name in TEXTS:
                for _ in range(TEXTS[name]):
                    inside.binary()
            else:
                raise WireError(f"property {name:#x} is not known")
        return found


# ---- what a client sends ---------------------------------------------------------------------------------------


def connect_of(body: bytes) -> Connect:
    """Raises WireError; an unknown version is returned with nothing else read."""
    rest = _Bytes(body)
    if rest.text() != "MQTT":
        raise WireError("not MQTT")
    version = rest.number(1)
    if version not in (V3, V5):
        return Connect(version, "", "", "", 0)
    flags, keepalive_s = rest.number(1), rest.number(2)
    if flags & 1:
        raise WireError("a reserved flag is set")
    largest = rest.properties(version).get(PACKET_SIZE, 0)
    client_id = rest.text()
    if flags & 4:  # a will: nothing is published for anybody, so it is only skipped
        rest.properties(version)
        rest.text()
        rest.binary()
    account = rest.text() if flags & 0x80 else ""
    pin = rest.text() if flags & 0x40 else ""
    return Connect(version, client_id, account, pin, keepalive_s, largest)


def subscribe_of(body: bytes, version: int) -> Subscribe:
    rest = _Bytes(body)
    packet_id = rest.number(2)
    rest.properties(version)
    wishes = []
    while not rest.is_done:
        topic, options = rest.text(), rest.number(1)
        wishes.append(Wish(topic, min(1, options & 3), bool(options & 8), options >> 4 & 3))
    if not wishes or not packet_id:
        raise WireError("an empty SUBSCRIBE")
    return Subscribe(packet_id, tuple(wishes))


def unsubscribe_of(body: bytes, version: int) -> Unsubscribe:
    rest = _Bytes(body)
    packet_id = rest.number(2)
    rest.properties(version)
    topics = []
    while not rest.is_done:
        topics.append(rest.text())
    return Unsubscribe(packet_id, tuple(topics))


def acknowledged_of(body: bytes) -> int:
    return _Bytes(body).number(2)


# ---- what it is answered ---------------------------------------------------------------------------------------


def connack(version: int, refusal: Refusal | None = None, given_id: str = "") -> bytes:
    """The first answer. Version 5 is told what this server does not do: sessions that stay, shared subscriptions, QoS 2."""
    if version != V5:
        return _packet(Type.CONNACK, bytes((0, CONNECT_V3.get(refusal, 5) if refusal is not None else 0)))
    if refusal is not None:
        return _packet(Type.CONNACK, bytes((0, refusal, 0)))
    properties = b"\x11\0\0\0\0\x24\x01\x29\0\x2a\0" + b"\x27" + struct.pack(">I", LARGEST_PACKET)
    if given_id:
        properties += b"\x12" + _text(given_id)
    return _packet(Type.CONNACK, b"\0\0" + _length(len(properties)) + properties)


def suback(version: int, packet_id: int, results: tuple[int, ...]) -> bytes:
    """Granted QoS or a refusal for each filter."""
    codes = results if version == V5 else tuple(r if r < 0x80 else 0x80 for r in results)
    return _packet(Type.SUBACK, struct.pack(">H", packet_id) + _no_properties(version) + bytes(codes))


def unsuback(version: int, packet_id: int, results: tuple[int, ...]) -> bytes:
    return _packet(Type.UNSUBACK, struct.pack(">H", packet_id) + (b"\0" + bytes(results) if version == V5 else b""))


def publish(version: int, topic: str, payload: bytes, *, packet_id: int = 0, retained: bool = False) -> bytes:
    """QoS 1 with a packet id, else QoS 0."""
    number = struct.pack(">H", packet_id) if packet_id else b""
    body = _text(topic) + number + _no_properties(version) + payload
    return _packet(Type.PUBLISH, body, (2 if packet_id else 0) | retained)


def pong() -> bytes:
    return _packet(Type.PINGRESP, b"")


def goodbye(version: int, refusal: Refusal) -> bytes:
    """Why the connection ends; 3.1.1 has no word for it."""
    return _packet(Type.DISCONNECT, bytes((refusal, 0))) if version == V5 else b""


def _packet(kind: Type, body: bytes, flags: int = 0) -> bytes:
    return bytes((kind << 4 | flags,)) + _length(len(body)) + body


def _length(value: int) -> bytes:
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        out.append(byte | 0x80 if value else byte)
        if not value:
            return bytes(out)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _no_properties(version: int) -> bytes:
    return b"\0" if version == V5 else b""
