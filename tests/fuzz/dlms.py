"""DLMS: frames, wrapper, PDUs, data, pushes, ciphered PDUs, recordings, and whole conversations with a raving meter."""

from __future__ import annotations

from collections.abc import Callable

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr, cosem_time, gbt, hdlc, mbus_transport, push, wrapper
from gridtally_edge.protocols.dlms.access import Result, attribute, range_selector
from gridtally_edge.protocols.dlms.acse import Aare, Aarq, Context, Mechanism, Rlre
from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.axdr import Bits, Data, Tag, array, octet_string, structure
from gridtally_edge.protocols.dlms.ciphering import CipheredService, CipherKeys, GeneralCiphered, GeneralGlo, Sealed, seal
from gridtally_edge.protocols.dlms.client import PROPOSED, DlmsClient, Login
from gridtally_edge.protocols.dlms.counters import MemoryCounters
from gridtally_edge.protocols.dlms.describe import describe
from gridtally_edge.protocols.dlms.hdlc import Address, Frame, encode_frame
from gridtally_edge.protocols.dlms.initiate import ConfirmedServiceError, InitiateRequest, InitiateResponse
from gridtally_edge.protocols.dlms.link import LARGEST, HdlcLink, WrapperLink
from gridtally_edge.protocols.dlms.link_parameters import read_parameters
from gridtally_edge.protocols.dlms.list_services import ActionListResponse, Piece, SetListFirstBlockRequest, SetListResponse
from gridtally_edge.protocols.dlms.notification import DataNotification, EventNotification, ExceptionResponse, GeneralBlock
from gridtally_edge.protocols.dlms.object_list import object_of
from gridtally_edge.protocols.dlms.security import Guard, Security
from gridtally_edge.protocols.dlms.services import (
    ActionBlockResponse,
    ActionRequest,
    ActionResponse,
    Block,
    GetBlockResponse,
    GetListResponse,
    GetRequest,
    GetResponse,
    SetRequest,
)
from gridtally_edge.protocols.explain import explain_dlms
from gridtally_shared.errors import LinkDown
from gridtally_shared.explain import Keys

KEYS = CipherKeys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
METER, OURS = b"MTR12345", b"GRT12345"
CLIENT, SERVER = Address(48), Address(1, 17, 2)
VALUE = attribute(3, "1.0.1.8.0.255", 2)
CLOCK = attribute(8, "0.0.1.0.0.255", 2)
MOST_EXCHANGES = 300
SPOKEN = 6

_TIME = octet_string(bytes.fromhex("07e30c1f0217000000ffc400"))
_ROWS = array(*(structure(_TIME if n == 0 else axdr.NULL, Data(Tag.UINT32, 1517 + n), Data(Tag.INT16, -3)) for n in range(4)))
_COMPACT = bytes.fromhex("1302 02 12 06 0c 0001 00000002 0003 00000004".replace(" ", ""))
_DATA = [
    axdr.encode(_ROWS), _COMPACT, axdr.encode(Data(Tag.BIT_STRING, Bits(11, b"\xff\xe0"))), bytes.fromhex("17c2280000"),
    axdr.encode(structure(Data(Tag.UINT16, 8), Data(Tag.UINT8, 0), octet_string(CLOCK.obis.value),
                          structure(array(structure(Data(Tag.INT8, 2), Data(Tag.ENUM, 1), axdr.NULL)), array()))),
]  # fmt: skip
_PUSH = axdr.encode(array(
    structure(octet_string(VALUE.obis.value), Data(Tag.UINT32, 42), structure(Data(Tag.INT8, -2), Data(Tag.ENUM, 30))),
    structure(octet_string(CLOCK.obis.value), _TIME),
))  # fmt: skip
_PLAIN = [
    Aarq(mechanism=Mechanism.HLS_GMAC, title=OURS, secret=b"c" * 16, initiate=InitiateRequest(PROPOSED).octets()),
    Aare(Context.LOGICAL_NAME, 0, 14, title=METER, challenge=b"s" * 16, initiate=InitiateResponse(PROPOSED, 512).octets()),
    Rlre(0), ConfirmedServiceError(1, 6, 1), ExceptionResponse(2, 6, 77),
    GetRequest(0xC1, VALUE, range_selector(CLOCK, _TIME, _TIME)), GetResponse(0xC1, _ROWS), GetResponse(0xC1, Result(4)),
    GetListResponse(0xC1, (Result(3), _TIME)), GetBlockResponse(0xC1, Block(False, 1, b"\x09\x10abc")),
    GetBlockResponse(0xC1, Block(True, 2, b"defghijklmnop")), SetRequest(0xC1, VALUE, None, _TIME),
    SetListResponse(0xC1, (Result(0), Result(3))), SetListFirstBlockRequest(0xC1, ((VALUE, None),), Piece(False, 1, b"abc")),
    ActionRequest(0xC1, VALUE, _TIME), ActionResponse(0xC1, Result(0), _TIME), ActionBlockResponse(0xC1, True, 1, b"\x11\x05"),
    ActionListResponse(0xC1, ((Result(0), _TIME), (Result(3), None))), DataNotification(1, b"", _PUSH),
    EventNotification(None, VALUE, _TIME), GeneralBlock(0x46, 1, 0, b"\xc4\x01\xc1\x00"), GeneralBlock(0x86, 2, 0, b"\x11\x05"),
]  # fmt: skip
_PDUS = [pdu.octets() for pdu in _PLAIN]


def _sealed(plain: bytes, counter: int, title: bytes = METER) -> Sealed:
    return seal(KEYS, title, counter, 0x30, plain)


_ANSWER = GetResponse(0xC1, _ROWS).octets()
_CIPHERED = [
    CipheredService(0xCC, _sealed(_ANSWER, 1)).octets(), GeneralGlo(METER, _sealed(_ANSWER, 2)).octets(),
    GeneralGlo(METER, _sealed(DataNotification(1, b"", _PUSH).octets(), 3)).octets(),
    GeneralCiphered(b"12345678", METER, OURS, b"", b"", b"\x00\x00", _sealed(_ANSWER, 4)).octets(),
]  # fmt: skip


def _frame(control: int, information: bytes, segmented: bool = False) -> bytes:
    return encode_frame(Frame(CLIENT, SERVER, control, information, segmented))


_UA = _frame(hdlc.UA, LARGEST.octets())
_FRAMES = [
    _UA, _frame(hdlc.DM, b""), _frame(hdlc.receive_ready(1), b""), _frame(hdlc.not_ready(1), b""), _frame(hdlc.reject(0), b""),
    *(_frame(hdlc.information(0, 1), hdlc.LLC_RESPONSE + pdu) for pdu in (_PDUS[1], _ANSWER)),
    _frame(hdlc.information(0, 1, False), hdlc.LLC_RESPONSE + _ANSWER[:20], True) + _frame(hdlc.information(1, 1), _ANSWER[20:]),
]  # fmt: skip
_WRAPPED = [wrapper.WrapperPdu(1, 48, pdu).octets() for pdu in (*_PDUS[:8], *_CIPHERED)]


def _tell(pdu: bytes) -> object:
    return describe(decode_apdu(pdu))


def _frames(octets: bytes) -> object:
    return hdlc.frames_of(octets), hdlc.pending_from(octets), hdlc.missing(octets), hdlc.damage_at(octets, 0)


def _wrapper(octets: bytes) -> object:
    return wrapper.scan(octets), wrapper.scan(octets, resync=True)


def _pushed(body: bytes) -> object:
    return push.push_values(body), push.maker_of(body)


def _open(octets: bytes) -> object:
    guard = Guard.begin(Security(OURS, KEYS, MemoryCounters(), meter_title=METER))
    return guard.open(octets)


def _explain(octets: bytes) -> object:
    return explain_dlms(octets, Keys(KEYS.encryption, KEYS.authentication))


def _rave(conversation: Conversation[object], answer: bytes) -> object:
    """Run a conversation whose first requests get the same octets each, and the later ones silence."""
    try:
        exchange = next(conversation)
        for number in range(MOST_EXCHANGES):
            found = exchange.find_answer(answer) if answer and number < SPOKEN else None
            if found is None:
                exchange = conversation.throw(LinkDown("silence"))
            else:
                exchange = conversation.send(answer[found.start : found.end])
    except StopIteration as end:
        return end.value
    raise AssertionError(f"not at an end after {MOST_EXCHANGES} exchanges")


def _over_hdlc(answer: bytes) -> object:
    link = HdlcLink(CLIENT, SERVER, LARGEST)
    connect = link.connect()
    next(connect)
    try:
        connect.send(_UA)
    except StopIteration:
        return _rave(link.request(_PDUS[5]), answer)
    return None


def _over_ip(answer: bytes) -> object:
    login = Login(preestablished=True)
    client = DlmsClient(WrapperLink(48, 1, datagrams=True), login)
    _rave(client.open(), b"")
    return _rave(client.get(VALUE), answer)


class _Replies:
    """A `Link` whose meter says the same again and again."""

    repairs, needs_release, streams = True, False, True

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def request(self, *apdus: bytes) -> Conversation[bytes]:
        yield from ()
        return self._answer

    receive = request


def _general_blocks(answer: bytes) -> object:
    return _rave(gbt.receive(_Replies(answer), answer), b"")  # type: ignore[arg-type]


DECODERS: dict[str, Callable[[bytes], object]] = {
    "apdu": _tell,
    "data": axdr.decode,
    "datetime": cosem_time.decode_datetime,
    "frames": _frames,
    "general-blocks": _general_blocks,
    "link-parameters": read_parameters,
    "mbus-transport": lambda octets: mbus_transport.join_segments(mbus_transport.segments_of(octets)),
    "object-list": lambda octets: object_of(axdr.decode(octets)),
    "open": _open,
    "over-hdlc": _over_hdlc,
    "over-ip": _over_ip,
    "push": _pushed,
    "recording": _explain,
    "wrapper": _wrapper,
}

SEEDS: dict[str, list[bytes]] = {
    "apdu": _PDUS + _CIPHERED,
    "data": _DATA,
    "datetime": [bytes.fromhex("07e30c1f0217000000ffc400")],
    "frames": _FRAMES,
    "general-blocks": [pdu for pdu in _PDUS if gbt.is_block(pdu)],
    "link-parameters": [LARGEST.octets(), bytes.fromhex("8180140502008006020080070400000001080400000001")],
    "mbus-transport": [bytes.fromhex("680a0a6853ff0001670102030405c916"), bytes.fromhex("6808086853ff1101670a0b0cec16")],
    "object-list": [_DATA[4]],
    "open": _CIPHERED,
    "over-hdlc": _FRAMES,
    "over-ip": _WRAPPED,
    "push": [_PUSH],
    "recording": [*_PDUS, *_CIPHERED, *_FRAMES, *_WRAPPED],
    "wrapper": _WRAPPED,
}
