"""Coordinators and IP streams against bytes nobody meant to send: frames, pieces, AT lines, LLC, pushes."""

from collections.abc import Callable

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Frame
from gridtally_edge.protocols.dlms.llc432 import decode_llc
from gridtally_edge.protocols.dlms.wrapper import WrapperPdu
from gridtally_edge.transports.ip_unasked import take_unasked, whole_messages
from gridtally_edge.transports.modem_at import AtModem
from gridtally_edge.transports.modem_fragments import Fragmenter, Reassembler
from gridtally_edge.transports.modem_framed import FramedModem, ProtocolId, UsiFrame, decode_body, encode_frame
from gridtally_edge.transports.modem_model import NodeAsks, NodeHere
from gridtally_edge.transports.nodes import NodeTable

_EUI = bytes.fromhex("00124b0000000001")
_PLACE = bytes.fromhex("000b000002b4")
_PUSH = WrapperPdu(1, 64, bytes.fromhex("0f00000001000200")).octets()
_ANSWER = WrapperPdu(1, 32, bytes.fromhex("c401c1000a0131")).octets()
_UI = hdlc.encode_frame(Frame(Address(64), Address(1, 17, 2), hdlc.UI, hdlc.LLC_RESPONSE + b"\x0f"))


def _framed(data: bytes) -> object:
    modem = FramedModem()
    modem.begin(0.0)
    table = NodeTable("fuzz", open_to_all=True)
    events = [*modem.receive(data[: len(data) // 2], 1.0), *modem.receive(data[len(data) // 2 :], 1.1)]
    for event in events:
        if isinstance(event, NodeHere):
            table.here(event, 1.0)
        elif isinstance(event, NodeAsks):
            table.asks(event.node, 1.0)
    return modem.output(1.2), modem.overdue(3.0)


def _body(data: bytes) -> object:
    frame = decode_body(data)
    if frame is not None:
        assert decode_body(encode_frame(frame)[1:-1]) == frame
    return frame


def _at(data: bytes) -> object:
    found = []
    for online in (False, True):
        modem = AtModem()
        modem.begin(0.0)
        modem.output(1.0)
        modem.receive(b"OK\r\n", 2.0)
        if online:
            modem.send("11", b"x", 2.1)
        for step in range(3):
            modem.output(3.0 + step)
            found += modem.receive(data[step::3], 3.5 + step)
            found += modem.overdue(4.0 + step)
    return found


def _pieces(data: bytes) -> object:
    joined = Reassembler()
    return [joined.add(str(data[0] & 3), data[at : at + 9], at / 10) for at in range(0, len(data), 9)] if data else None


def _unasked(data: bytes) -> object:
    messages, rest = take_unasked(data)
    assert 0 <= sum(map(len, messages)) + len(rest) - len(data) <= len(messages), "nothing lost; only a flag may be shared"
    return messages, whole_messages(data)


_NODES = [encode_frame(UsiFrame(ProtocolId.NODES, command, _EUI + _PLACE)) for command in (0x41, 0x42, 0x43, 0x44, 0x45)]
_DATA = [encode_frame(UsiFrame(ProtocolId.DATA, 0x41, b"\x00\x0b\xc8" + piece)) for piece in Fragmenter(16).pieces("11", bytes(40))]
_STATUS = encode_frame(UsiFrame(ProtocolId.STATUS, 0x41, bytes.fromhex("01008001")))
_FRAMES = [_STATUS, *_NODES, *_DATA, encode_frame(UsiFrame(ProtocolId.NODES, 0x46, b"\x00\x01"))]

DECODERS: dict[str, Callable[[bytes], object]] = {
    "framed": _framed,
    "body": _body,
    "at": _at,
    "pieces": _pieces,
    "llc": decode_llc,
    "unasked": _unasked,
}
SEEDS: dict[str, list[bytes]] = {
    "framed": [*_FRAMES, b"".join(_FRAMES)],
    "body": [frame[1:-1] for frame in _FRAMES],
    "at": [
        b"OK\r\n",
        b"CONNECT\r\n",
        b"+NODE:a1,11,0,1,200\r\nOK\r\n",
        b"+INFO:120,M\r\nOK\r\n",
        b"+JOIN:a,1,0,1,5\r\n+LEAVE:a\r\nERROR\r\n",
    ],
    "pieces": [b"".join(p[:9] for p in Fragmenter(9).pieces("1", bytes(30)))],
    "llc": [bytes.fromhex("010290c001c1"), bytes.fromhex("020190c401c1000a0131")],
    "unasked": [_PUSH + _ANSWER + _PUSH, _UI + _UI, bytes.fromhex("0140900f0000")],
}
