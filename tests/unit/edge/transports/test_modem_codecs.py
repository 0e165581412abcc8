"""The two modem codecs, fragments and LLC by their documented layouts: bytes written by hand, no simulator."""

import binascii

import pytest

from gridtally_edge.protocols.dlms.llc432 import Llc432Link, LlcPdu, decode_llc
from gridtally_edge.transports.modem_at import AtModem, Mode
from gridtally_edge.transports.modem_fragments import KEEP_S, MOST_OPEN, Fragmenter, Reassembler
from gridtally_edge.transports.modem_framed import (
    DataCommand,
    FramedModem,
    FrameReader,
    NodeCommand,
    ProtocolId,
    UsiFrame,
    crc8,
    decode_body,
    encode_frame,
)
from gridtally_edge.transports.modem_model import (
    ModemFailed,
    ModemReady,
    NodeAsks,
    NodeData,
    NodeGone,
    NodeHere,
    NodesListed,
    NotSent,
)
from gridtally_shared.errors import LinkDown, MeterFault

EUI = bytes.fromhex("00124b0000000001")


def frame(protocol, command, data=b""):
    return encode_frame(UsiFrame(protocol, command, data))


def test_a_status_frame_by_the_document():
    """Length 1 in 10 bits, protocol 0A in 6: 00 4A; command 01; CRC-8 of polynomial 07."""
    body = bytes.fromhex("004a01")
    assert crc8(b"123456789") == 0xF4, "the check value of CRC-8"
    assert frame(ProtocolId.STATUS, 1) == b"\x7e" + body + bytes([crc8(body)]) + b"\x7e"


def test_a_node_frame_carries_crc_16_and_a_data_frame_crc_32():
    body = bytes.fromhex("0270") + b"\x02" + EUI
    assert frame(ProtocolId.NODES, 2, EUI) == b"\x7e" + body + binascii.crc_hqx(body, 0).to_bytes(2, "big") + b"\x7e"
    body = bytes.fromhex("0131") + b"\x01" + b"abc"
    assert frame(ProtocolId.DATA, 1, b"abc") == b"\x7e" + body + binascii.crc32(body).to_bytes(4, "big") + b"\x7e"


def test_delimiters_are_escaped_and_come_back():
    data = bytes.fromhex("7e7d5e5d7e")
    octets = frame(ProtocolId.DATA, DataCommand.SEND, data)
    assert b"\x7e" not in octets[1:-1]
    assert b"\x7d\x5e\x7d\x5d" in octets
    assert decode_body(octets[1:-1]) == UsiFrame(ProtocolId.DATA, DataCommand.SEND, data)


def test_long_data_use_the_extended_length_bit():
    data = bytes(1_500)
    octets = frame(ProtocolId.DATA, DataCommand.DATA, data)
    assert octets[3] == DataCommand.DATA | 0x80, "1501 needs bit 10"
    assert decode_body(octets[1:-1]) == UsiFrame(ProtocolId.DATA, DataCommand.DATA, data)
    with pytest.raises(ValueError, match="do not fit"):
        frame(ProtocolId.STATUS, 1, bytes(1_100))


def test_damage_costs_the_damaged_frame_only():
    good = frame(ProtocolId.NODES, NodeCommand.LEFT, EUI + b"\x00")
    bad = bytearray(good)
    bad[5] ^= 1
    reader = FrameReader()
    stream = b"noise" + good + bytes(bad) + good[1:] + good
    found = [f for at in range(0, len(stream), 3) for f in reader.feed(stream[at : at + 3])]
    assert [f.command for f in found] == [NodeCommand.LEFT] * 3
    assert reader.damaged == 2, "the noise and the bad one"


@pytest.mark.parametrize("body", ["", "00", "004a01", "ffffffffff", "7d", "004a7d", "00b101" + "00" * 8])
def test_no_frame_is_read_where_none_is(body):
    assert decode_body(bytes.fromhex(body)) is None


def started(mtu=64, flags=1):
    modem = FramedModem()
    modem.begin(0.0)
    assert modem.output(0.0).octets == frame(ProtocolId.STATUS, 1)
    status = frame(ProtocolId.STATUS, 0x41, b"\x01" + mtu.to_bytes(2, "big") + bytes([flags]))
    assert modem.receive(status, 0.1) == (ModemReady(mtu, bool(flags & 1)),)
    assert modem.output(0.1).octets == frame(ProtocolId.NODES, NodeCommand.LIST)
    return modem


def test_a_framed_modem_is_asked_three_times_and_then_given_up():
    modem = FramedModem()
    modem.begin(0.0)
    asked = [modem.output(0.0).octets]
    for now_s in (2.1, 4.2):
        assert modem.overdue(now_s) == ()
        asked.append(modem.output(now_s).octets)
    assert asked == [frame(ProtocolId.STATUS, 1)] * 3
    assert isinstance(modem.overdue(6.3)[0], ModemFailed)


def test_what_a_framed_modem_tells_of_nodes():
    modem = started()
    numbers = bytes.fromhex("000b0000") + bytes([2, 180])
    assert modem.receive(frame(ProtocolId.NODES, 0x45, EUI + numbers), 1.0) == (NodeHere(EUI.hex(), "11", "0", 2, 180),)
    assert modem.receive(frame(ProtocolId.NODES, 0x46, b"\x00\x02"), 1.0) == (), "two are counted, one came: a frame was lost"
    assert modem.receive(frame(ProtocolId.NODES, 0x46, b"\x00\x01"), 1.0) == (NodesListed(frozenset({EUI.hex()})),)
    assert modem.receive(frame(ProtocolId.NODES, 0x43, EUI + numbers), 1.0) == (NodeHere(EUI.hex(), "11", "0", 2, 180),)
    assert modem.receive(frame(ProtocolId.NODES, 0x42, EUI + b"\x00"), 1.0) == (NodeGone(EUI.hex()),)
    assert modem.receive(frame(ProtocolId.NODES, 0x44, EUI), 1.0) == (NodeAsks(EUI.hex()),)
    assert modem.receive(frame(ProtocolId.NODES, 0x41, EUI), 1.0) == (), "cut short"


def test_a_framed_modem_sends_in_pieces_and_says_what_was_not_sent():
    modem = started(mtu=16)
    modem.send("11", b"0123456789abcdefXYZ", 1.0)
    head = bytes.fromhex("000b")
    assert modem.output(1.0).octets == (
        frame(ProtocolId.DATA, 1, b"\x01" + head + b"\x00\x00" + b"0123456789abcd")
        + frame(ProtocolId.DATA, 1, b"\x02" + head + b"\x00\x81" + b"efXYZ")
    )
    assert modem.receive(frame(ProtocolId.DATA, 0x42, b"\x01\x00"), 1.0) == ()
    assert modem.receive(frame(ProtocolId.DATA, 0x42, b"\x02\x02"), 1.0) == (NotSent("11", "no route to the node"),)
    answer = frame(ProtocolId.DATA, 0x41, head + b"\xc8" + b"\x07\x80" + b"answer")
    assert modem.receive(answer, 1.0) == (NodeData("11", b"answer", 200),)
    assert modem.send_to_all(b"time")
    assert modem.output(1.0).octets == frame(ProtocolId.DATA, 2, b"\x03\x00\x80time")
    assert not started(flags=0).send_to_all(b"time")
    with pytest.raises(LinkDown, match="no address"):
        modem.send("far", b"x", 1.0)


def test_white_list_commands_of_a_framed_modem():
    modem = started()
    modem.allow(EUI.hex())
    modem.forget(EUI.hex())
    modem.allow("not hexadecimal")
    assert modem.output(1.0).octets == frame(ProtocolId.NODES, 2, EUI) + frame(ProtocolId.NODES, 3, EUI)


def at_modem():
    """Through the start: escape, AT, ATS12, AT+INFO, AT+NODES."""
    modem = AtModem(guard_s=0.1)
    modem.begin(0.0)
    assert modem.output(0.0).octets == b"", "silence first"
    assert modem.output(1.0).octets == b"+++"
    modem.receive(b"OK\r\n", 2.1)
    for asked, told in ((b"AT\r", b""), (b"ATS12=5\r", b""), (b"AT+INFO\r", b"+INFO:120,M\r\n")):
        assert modem.output(2.2).octets == asked
        events = modem.receive(told + b"OK\r\n", 2.3)
    assert events == (ModemReady(120, True),)
    assert modem.output(2.4).octets == b"AT+NODES\r"
    row = b"+NODE:a1,11,0,1,200\r\n+WAIT:b2\r\n"
    assert modem.receive(row, 2.5) == (NodeHere("a1", "11", "0", 1, 200), NodeAsks("b2"))
    assert modem.receive(b"OK\r\n", 2.5) == (NodesListed(frozenset({"a1", "b2"})),)
    return modem


def test_a_transparent_modem_is_pointed_to_a_node_and_back():
    modem = at_modem()
    modem.send("11", b"\x7e frame", 3.0)
    assert modem.output(3.0).octets == b"AT+DST=11\r"
    modem.receive(b"OK\r\n", 3.1)
    assert modem.output(3.1).octets == b"ATO\r"
    modem.receive(b"CONN", 3.2)
    modem.receive(b"ECT\r\n", 3.2)
    assert modem.mode is Mode.ONLINE
    assert modem.output(3.2).octets == b"\x7e frame"
    assert modem.receive(b"answer OK\r\n", 3.3) == (NodeData("11", b"answer OK\r\n"),)
    modem.send("11", b"again", 3.4)
    assert modem.output(3.4).octets == b"again", "the same node needs no commands"
    modem.send("12", b"other", 3.41)
    assert modem.output(3.42).octets == b"", "silence before the escape"
    assert modem.output(3.55).octets == b"+++"
    assert b"".join(e.payload for e in modem.receive(b"late\r\nOK\r\n", 3.7)).startswith(b"late")
    assert modem.mode is Mode.COMMAND
    assert modem.output(3.8).octets == b"AT+DST=12\r"
    assert modem.receive(b"ERROR\r\n", 3.9) == (NotSent("12", "no such node, or it can not be reached"),)


def test_a_transparent_modem_lists_again_when_all_is_quiet():
    modem = at_modem()
    assert modem.output(3.0).octets == b""
    assert modem.output(70.0).octets == b"AT+NODES\r"
    assert modem.receive(b"OK\r\n", 70.1) == (NodesListed(frozenset()),)
    assert modem.receive(b"+LEAVE:a1\r\n+JOIN:c3,12,11,2,90\r\n", 71.0) == (NodeGone("a1"), NodeHere("c3", "12", "11", 2, 90))


def test_a_transparent_modem_that_is_silent_is_given_up():
    modem = at_modem()
    modem.allow("a1")
    events = ()
    for now_s in range(10, 30, 4):
        modem.output(float(now_s))
        events += modem.overdue(now_s + 3.5)
        modem.forget("a1")
    assert any(isinstance(event, ModemFailed) for event in events)


@pytest.mark.parametrize("row", ["", "a,b", "a,1,0,x,5", "a,1,0,1,256", ",1,0,1,5"])
def test_a_row_without_sense_is_no_node(row):
    modem = at_modem()
    assert modem.receive(f"+NODE:{row}\r\n".encode(), 3.0) == ()


def test_pieces_come_in_any_order_and_twice():
    message = bytes(range(100))
    pieces = Fragmenter(32).pieces("1", message)
    assert [p[:2] for p in pieces] == [b"\x00\x00", b"\x00\x01", b"\x00\x02", b"\x00\x83"]
    joined = Reassembler()
    results = [joined.add("1", piece, 0.0) for piece in (pieces[3], pieces[0], pieces[0], pieces[2], pieces[1])]
    assert results == [None, None, None, None, message]
    assert joined.add("1", pieces[3], 0.0) is None
    assert Fragmenter(32).pieces("1", b"") == (b"\x00\x80",)


def test_unfinished_messages_are_dropped_and_counted():
    cut, joined = Fragmenter(8), Reassembler()
    lost, whole = cut.pieces("1", b"0123456789"), cut.pieces("1", b"abcdefghij")
    joined.add("1", lost[0], 0.0)
    assert [joined.add("1", piece, 1.0) for piece in whole] == [None, b"abcdefghij"]
    assert joined.lost == 1
    for number in range(2 * MOST_OPEN):
        joined.add("2", bytes((number, 0)), 0.0)
    assert joined.lost == 1 + MOST_OPEN
    joined.add("2", bytes((200, 0)), KEEP_S + 1)
    assert joined.lost == 1 + 2 * MOST_OPEN
    with pytest.raises(LinkDown, match="ask the meter for smaller PDUs"):
        cut.pieces("1", bytes(1_000))


def test_a_single_piece_twice_is_one_message():
    joined = Reassembler()
    assert joined.add("1", b"\x05\x80abc", 0.0) == b"abc"
    assert joined.add("1", b"\x05\x80abc", 0.0) is None
    assert joined.add("1", b"\x06\x80abc", 0.0) == b"abc"
    assert joined.add("1", b"\x06", 0.0) is None


def test_llc_of_4_32_by_its_layout():
    assert LlcPdu(1, 2, b"\xc0\x01").octets() == bytes.fromhex("010290c001")
    assert decode_llc(bytes.fromhex("020190c401")) == LlcPdu(2, 1, b"\xc4\x01")
    for wrong in ("", "0102", "010290", "010391c0", "e6e700c0"):
        with pytest.raises(MeterFault, match="no LLC header"):
            decode_llc(bytes.fromhex(wrong))


def test_an_llc_link_takes_its_own_answer_only():
    link = Llc432Link(2, 1)
    conversation = link.request(b"\xc0\x01")
    exchange = next(conversation)
    assert exchange.request == bytes.fromhex("010290c001")
    assert not exchange.repeatable
    for other in ("020290c401", "010190c401", "0201900f00", "020190"):
        assert exchange.find_answer(bytes.fromhex(other)) is None
    answer = bytes.fromhex("020190c401")
    assert exchange.find_answer(answer) is not None
    with pytest.raises(StopIteration) as stop:
        conversation.send(answer)
    assert stop.value.value == b"\xc4\x01"
