"""A coordinator with a framed serial interface, in the style of the Microchip USI of PRIME base nodes.

Frame: `7E`, header, data, check, `7E`. Between the delimiters `7E` is sent as `7D 5E` and `7D` as `7D 5D`.

* Header, 2 octets: 10 bits length of the data (command octet included), 6 bits protocol id; the length's high octet first.
  For the protocols marked x the highest bit of the command octet is bit 10 of the length (up to 2,047 octets).
* Check, high octet first, over header and data: CRC-8 (polynomial 07, start 0), CRC-16 (1021, start 0) or CRC-32 (IEEE).

    protocol 0A, status, CRC-8      to the modem   01 ask          from it   41 status: version, MTU (2), flags (bit 0: multicast)
                                                                             42 restarted: the same
    protocol 30 x, nodes, CRC-16    to the modem   01 list all     from it   41 joined: EUI-64, address (2), parent (2), hops, quality
                                                   02 allow: EUI             42 left: EUI
                                                   03 forget: EUI            43 route changed: as joined
                                                                             44 waits for permission: EUI
                                                                             45 listed: as joined     46 end of the list: count (2)
    protocol 31 x, data, CRC-32     to the modem   01 send: handle, address (2), piece
                                                   02 send to all: handle, piece
                                                               from it   41 data: address (2), quality, piece
                                                                         42 sent: handle, result (0 fine, 1 no such node,
                                                                            2 no route, 3 busy, 4 too long)

Numbers have their high octet first; a parent of 0 is the coordinator. Pieces are those of modem_fragments.py.
The framing follows the description of USI in protocols.md section 5; the protocol ids and commands are this project's own. A
vendor's modem has its own command table, and none has been connected: this codec has met its simulator only.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from dataclasses import field
from enum import IntEnum
from typing import Final

from gridtally_edge.transports.modem_fragments import Fragmenter, Reassembler
from gridtally_edge.transports.modem_model import (
    ModemEvent,
    ModemFailed,
    ModemReady,
    NodeAsks,
    NodeData,
    NodeGone,
    NodeHere,
    NodesListed,
    NotSent,
    Output,
)
from gridtally_shared.errors import LinkDown
from gridtally_shared.records import dataclass

FLAG: Final = 0x7E
ESCAPE: Final = 0x7D
_FLIP: Final = 0x20
USUAL_MTU: Final = 128
LEAST_MTU: Final = 16
ANSWER_S: Final = 2.0
ASKED_AT_MOST: Final = 3
LONGEST_RAW: Final = 2 * (2 + 2_047 + 4)
MULTICAST: Final = 0x01


class ProtocolId(IntEnum):
    STATUS = 0x0A
    NODES = 0x30
    DATA = 0x31


class StatusCommand(IntEnum):
    ASK = 0x01
    STATUS = 0x41
    RESTARTED = 0x42


class NodeCommand(IntEnum):
    LIST = 0x01
    ALLOW = 0x02
    FORGET = 0x03
    JOINED = 0x41
    LEFT = 0x42
    ROUTE = 0x43
    WAITS = 0x44
    LISTED = 0x45
    LIST_END = 0x46


class DataCommand(IntEnum):
    SEND = 0x01
    SEND_ALL = 0x02
    DATA = 0x41
    SENT = 0x42


RESULTS: Final = {1: "no such node", 2: "no route to the node", 3: "the modem is busy", 4: "too long for the network"}
_EXTENDED: Final = frozenset({ProtocolId.NODES, ProtocolId.DATA})


def crc8(octets: bytes) -> int:
    crc = 0
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc


_CHECKS: Final[dict[int, tuple[int, Callable[[bytes], int]]]] = {
    ProtocolId.STATUS: (1, crc8),
    ProtocolId.NODES: (2, lambda octets: binascii.crc_hqx(octets, 0)),
    ProtocolId.DATA: (4, binascii.crc32),
}


@dataclass(frozen=True, slots=True)
class UsiFrame:
    """`data` starts behind the command octet."""

    protocol: ProtocolId
    command: int
    data: bytes = b""


def encode_frame(frame: UsiFrame) -> bytes:
    """Raises ValueError where the data are too long for the protocol's length field."""
    length = 1 + len(frame.data)
    if length >> (11 if frame.protocol in _EXTENDED else 10):
        raise ValueError(f"{length} octets do not fit a frame of protocol {frame.protocol:02x}")
    header = ((length & 0x3FF) << 6 | frame.protocol).to_bytes(2, "big")
    body = header + bytes((frame.command | (length >> 10) << 7,)) + frame.data
    size, check = _CHECKS[frame.protocol]
    body += check(body).to_bytes(size, "big")
    escaped = body.replace(b"\x7d", b"\x7d\x5d").replace(b"\x7e", b"\x7d\x5e")
    return b"\x7e" + escaped + b"\x7e"


def decode_body(body: bytes) -> UsiFrame | None:
    """What stands between two delimiters, still escaped; None for damage, an unknown protocol or noise."""
    plain = _unescaped(body)
    if plain is None or len(plain) < 4:
        return None
    head = int.from_bytes(plain[:2], "big")
    known = _CHECKS.get(head & 0x3F)
    if known is None:
        return None
    protocol = ProtocolId(head & 0x3F)
    extended = protocol in _EXTENDED
    length = head >> 6 | ((plain[2] >> 7) << 10 if extended else 0)
    size, check = known
    if length < 1 or len(plain) != 2 + length + size:
        return None
    if check(plain[:-size]) != int.from_bytes(plain[-size:], "big"):
        return None
    return UsiFrame(protocol, plain[2] & 0x7F if extended else plain[2], plain[3:-size])


def _unescaped(body: bytes) -> bytes | None:
    parts = body.split(bytes((ESCAPE,)))
    if any(not part for part in parts[1:]):
        return None
    return parts[0] + b"".join(bytes((part[0] ^ _FLIP,)) + part[1:] for part in parts[1:])


@dataclass(slots=True)
class FrameReader:
    """Frames from octets as they come; damage costs the damaged frame only. `damaged` counts bodies without sense."""

    damaged: int = 0
    _pending: bytes = b""

    def feed(self, octets: bytes) -> list[UsiFrame]:
        *bodies, rest = (self._pending + octets).split(bytes((FLAG,)))
        self._pending = rest[-LONGEST_RAW:]
        found = [decode_body(body) for body in bodies if body]
        self.damaged += sum(frame is None for frame in found)
        return [frame for frame in found if frame is not None]


@dataclass(slots=True)
class FramedModem:
    """The codec. `wanted_mtu` 0 takes the modem's own."""

    wanted_mtu: int = 0
    alone: bool = field(default=False, init=False)
    reader: FrameReader = field(default_factory=FrameReader, init=False)
    pieces: Reassembler = field(default_factory=Reassembler, init=False)
    _cut: Fragmenter = field(default_factory=lambda: Fragmenter(USUAL_MTU), init=False)
    _out: bytes = field(default=b"", init=False)
    _handle: int = field(default=0, init=False)
    _sent_to: dict[int, str] = field(default_factory=dict, init=False)
    _multicast: bool = field(default=False, init=False)
    _listing: set[str] = field(default_factory=set, init=False)
    _asked: int = field(default=0, init=False)
    _answer_by_s: float | None = field(default=None, init=False)

    def begin(self, now_s: float) -> None:
        self.reader, self.pieces, self._sent_to = FrameReader(), Reassembler(), {}
        self._out, self._asked = b"", 0
        self._ask(now_s)

    def receive(self, octets: bytes, now_s: float) -> tuple[ModemEvent, ...]:
        events: list[ModemEvent] = []
        for frame in self.reader.feed(octets):
            read = _READERS.get((frame.protocol, frame.command))
            if read is not None:
                events += read(self, frame, now_s)
        return tuple(events)

    def output(self, now_s: float) -> Output:
        octets, self._out = self._out, b""
        return Output(octets, None if self._answer_by_s is None else max(0.0, self._answer_by_s - now_s))

    def send(self, address: str, payload: bytes, now_s: float) -> None:
        for piece in self._cut.pieces(address, payload):
            self._handle = (self._handle + 1) % 256
            self._sent_to[self._handle] = address
            head = bytes((self._handle,)) + _address_octets(address)
            self._put(ProtocolId.DATA, DataCommand.SEND, head + piece)

    def send_to_all(self, payload: bytes) -> bool:
        if not self._multicast:
            return False
        for piece in self._cut.pieces("all", payload):
            self._handle = (self._handle + 1) % 256
            self._put(ProtocolId.DATA, DataCommand.SEND_ALL, bytes((self._handle,)) + piece)
        return True

    def allow(self, node: str) -> None:
        self._tell(NodeCommand.ALLOW, node)

    def forget(self, node: str) -> None:
        self._tell(NodeCommand.FORGET, node)

    def overdue(self, now_s: float) -> tuple[ModemEvent, ...]:
        if self._answer_by_s is None or now_s < self._answer_by_s:
            return ()
        if self._asked >= ASKED_AT_MOST:
            self._answer_by_s = None
            return (ModemFailed(f"the modem did not answer {ASKED_AT_MOST} times: check power, wiring and speed"),)
        self._ask(now_s)
        return ()

    def _ask(self, now_s: float) -> None:
        self._asked += 1
        self._answer_by_s = now_s + ANSWER_S
        self._put(ProtocolId.STATUS, StatusCommand.ASK)

    def _put(self, protocol: ProtocolId, command: int, data: bytes = b"") -> None:
        self._out += encode_frame(UsiFrame(protocol, command, data))

    def _tell(self, command: NodeCommand, node: str) -> None:
        eui = _eui(node)
        if eui is not None:
            self._put(ProtocolId.NODES, command, eui)

    def _status(self, frame: UsiFrame, now_s: float) -> tuple[ModemEvent, ...]:
        if len(frame.data) < 4:
            return ()
        own_mtu = int.from_bytes(frame.data[1:3], "big")
        mtu = max(LEAST_MTU, min(own_mtu, self.wanted_mtu or own_mtu))
        self._cut = Fragmenter(mtu)
        self._multicast = bool(frame.data[3] & MULTICAST)
        self._answer_by_s, self._asked = None, 0
        self._listing = set()
        self._put(ProtocolId.NODES, NodeCommand.LIST)
        return (ModemReady(mtu, self._multicast),)

    def _here(self, frame: UsiFrame, now_s: float) -> tuple[ModemEvent, ...]:
        if len(frame.data) < 14:
            return ()
        address, parent = (str(int.from_bytes(frame.data[at : at + 2], "big")) for at in (8, 10))
        if frame.command == NodeCommand.JOINED:
            self.pieces.forget(address)
        self._listing.add(frame.data[:8].hex())
        return (NodeHere(frame.data[:8].hex(), address, parent, frame.data[12], frame.data[13]),)

    def _gone(self, frame: UsiFrame, now_s: float) -> tuple[ModemEvent, ...]:
        return (NodeGone(frame.data[:8].hex()),) if len(frame.data) >= 8 else ()

    def _waits(self, frame: UsiFrame, now_s: float) -> tuple[ModemEvent, ...]:
        if len(frame.data) < 8:
            return ()
        self._listing.add(frame.data[:8].hex())
        return (NodeAsks(frame.data[:8].hex()),)

    def _list_end(self, frame: UsiFrame, now_s: float) -> tuple[ModemEvent, ...]:
        """Taken as the whole list only when as many came as the modem counts: a damaged frame makes nobody leave."""
        counted = int.from_bytes(frame.data[:2], "big")
        return (NodesListed(frozenset(self._listing)),) if len(frame.data) >= 2 and len(self._listing) >= counted else ()

    def _data(self, frame: UsiFrame, now_s: float) -> tuple[ModemEvent, ...]:
        if len(frame.data) < 3:
            return ()
        address = str(int.from_bytes(frame.data[:2], "big"))
        message = self.pieces.add(address, frame.data[3:], now_s)
        return () if message is None else (NodeData(address, message, frame.data[2]),)

    def _sent(self, frame: UsiFrame, now_s: float) -> tuple[ModemEvent, ...]:
        if len(frame.data) < 2:
            return ()
        address = self._sent_to.pop(frame.data[0], "")
        result = frame.data[1]
        return (NotSent(address, RESULTS.get(result, f"result {result}")),) if result and address else ()


def _address_octets(address: str) -> bytes:
    if not address.isdecimal() or int(address) > 0xFFFF:
        raise LinkDown(f"{address} is no address of this network (0 to 65535)")
    return int(address).to_bytes(2, "big")


def _eui(node: str) -> bytes | None:
    try:
        eui = bytes.fromhex(node)
    except ValueError:
        return None
    return eui if len(eui) == 8 else None


_Reader = Callable[[FramedModem, UsiFrame, float], tuple[ModemEvent, ...]]
_READERS: Final[dict[tuple[int, int], _Reader]] = {
    (ProtocolId.STATUS, StatusCommand.STATUS): FramedModem._status,
    (ProtocolId.STATUS, StatusCommand.RESTARTED): FramedModem._status,
    (ProtocolId.NODES, NodeCommand.JOINED): FramedModem._here,
    (ProtocolId.NODES, NodeCommand.LISTED): FramedModem._here,
    (ProtocolId.NODES, NodeCommand.ROUTE): FramedModem._here,
    (ProtocolId.NODES, NodeCommand.LEFT): FramedModem._gone,
    (ProtocolId.NODES, NodeCommand.WAITS): FramedModem._waits,
    (ProtocolId.NODES, NodeCommand.LIST_END): FramedModem._list_end,
    (ProtocolId.DATA, DataCommand.DATA): FramedModem._data,
    (ProtocolId.DATA, DataCommand.SENT): FramedModem._sent,
}
