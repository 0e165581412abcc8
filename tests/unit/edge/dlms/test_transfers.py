"""GET, SET and ACTION: lists and their fall-back, blocks both ways, general block transfer, answers that do not fit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr, gbt
from gridtally_edge.protocols.dlms.access import AccessDenied, AccessResult, Attribute, Result
from gridtally_edge.protocols.dlms.acse import Aare, Aarq, Context
from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.client import PROPOSED
from gridtally_edge.protocols.dlms.initiate import ConfirmedServiceError, Conformance, InitiateResponse
from gridtally_edge.protocols.dlms.list_services import ActionListRequest, SetListRequest
from gridtally_edge.protocols.dlms.notification import ExceptionResponse, GeneralBlock
from gridtally_edge.protocols.dlms.services import (
    ActionBlockResponse,
    ActionResponse,
    Block,
    GetBlockResponse,
    GetListRequest,
    GetResponse,
    SetBlockResponse,
    SetResponse,
)
from gridtally_edge.protocols.dlms.timing import Timing
from gridtally_edge.protocols.dlms.wrapper import WrapperPdu, scan
from gridtally_edge.simulators.dlms_quirks import Quirk
from gridtally_shared.errors import GridtallyError, LinkDown, MeterFault
from gridtally_shared.obis import Obis
from support.dlms_bench import Bench
from support.dlms_meters import CLOCK, RETURN, SERIAL, VALUE, hdlc_client, hdlc_meter, long_value, wrapper_client, wrapper_meter

GENERAL = PROPOSED & ~(Conformance.BLOCK_GET | Conformance.BLOCK_SET | Conformance.BLOCK_ACTION) | Conformance.GENERAL_BLOCK_TRANSFER
SINGLE = PROPOSED & ~Conformance.MULTIPLE_REFERENCES
ABSENT = Attribute(1, Obis.of("0.0.96.99.99.255"), 2)
LONG = long_value(5_000)


def requests_of(bench: Bench) -> list[object]:
    return [decode_apdu(p.pdu.apdu) for octets in bench.requests for p in scan(octets)]


@pytest.mark.parametrize("proposed", [PROPOSED, SINGLE])
def test_a_list_of_values_with_a_refusal_among_them(proposed: Conformance) -> None:
    meter = wrapper_meter()
    client = wrapper_client(proposed=proposed)
    meter.bench.run(client.open())
    serial, absent, clock = meter.bench.run(client.get_list((SERIAL, ABSENT, CLOCK)))
    assert axdr.text_of(serial) == "S1"
    assert absent == Result(AccessResult.OBJECT_UNDEFINED)
    assert len(axdr.octets_of(clock)) == 12
    listed = sum(isinstance(request, GetListRequest) for request in requests_of(meter.bench))
    assert listed == (proposed is PROPOSED)


def test_a_list_longer_than_a_pdu_comes_in_blocks() -> None:
    meter = wrapper_meter(max_pdu=256)
    client = wrapper_client()
    meter.bench.run(client.open())
    meter.bench.run(client.set(VALUE, LONG))
    assert meter.bench.run(client.get_list((VALUE, SERIAL)))[0] == LONG


@pytest.mark.parametrize("proposed", [PROPOSED, SINGLE])
def test_writing_several_tells_the_result_of_each(proposed: Conformance) -> None:
    meter = wrapper_meter()
    client = wrapper_client(proposed=proposed)
    meter.bench.run(client.open())
    results = meter.bench.run(client.set_list(((VALUE, long_value(10)), (ABSENT, long_value(10)))))
    assert [r.ok for r in results] == [True, False]
    assert meter.bench.run(client.get(VALUE)) == long_value(10)
    assert sum(isinstance(request, SetListRequest) for request in requests_of(meter.bench)) == (proposed is PROPOSED)


@pytest.mark.parametrize("proposed", [PROPOSED, SINGLE])
def test_acting_on_several_tells_what_each_gave_back(proposed: Conformance) -> None:
    meter = wrapper_meter()
    client = wrapper_client(proposed=proposed)
    meter.bench.run(client.open())
    given_back = meter.bench.run(client.act_list(((RETURN, long_value(10)), (ABSENT, long_value(10)))))
    assert given_back[0] == long_value(10)
    assert isinstance(given_back[1], Result)
    assert sum(isinstance(request, ActionListRequest) for request in requests_of(meter.bench)) == (proposed is PROPOSED)


@pytest.mark.parametrize("max_pdu", [128, 512, 60_000])
@pytest.mark.parametrize("proposed", [PROPOSED, GENERAL])
@pytest.mark.parametrize("over_ip", [False, True])
def test_long_values_both_ways(max_pdu: int, proposed: Conformance, over_ip: bool) -> None:
    meter = (wrapper_meter if over_ip else hdlc_meter)(max_pdu=max_pdu, block_transfer=True)
    client = (wrapper_client if over_ip else hdlc_client)(proposed=proposed)
    meter.bench.run(client.open())
    meter.bench.run(client.set(VALUE, LONG))
    assert meter.bench.run(client.get(VALUE)) == LONG
    assert meter.bench.run(client.act(RETURN, LONG)) == LONG


@pytest.mark.parametrize("over_ip", [False, True])
def test_a_general_block_lost_in_a_window_is_sent_again(over_ip: bool) -> None:
    meter = (wrapper_meter if over_ip else hdlc_meter)(max_pdu=256, block_transfer=True)
    client = (wrapper_client if over_ip else hdlc_client)(proposed=GENERAL)
    meter.bench.run(client.open())
    meter.bench.run(client.set(VALUE, LONG))
    meter.quirks.add(Quirk.LOSE_GENERAL_BLOCK, 2)
    assert meter.bench.run(client.get(VALUE)) == LONG
    assert Quirk.LOSE_GENERAL_BLOCK not in meter.quirks.listed()


def test_the_meter_streams_once_it_knows_our_window() -> None:
    meter = wrapper_meter(max_pdu=256, block_transfer=True)
    client = wrapper_client(proposed=GENERAL)
    meter.bench.run(client.open())
    meter.bench.run(client.set(VALUE, LONG))
    before = len(meter.bench.requests)
    assert meter.bench.run(client.get(VALUE)) == LONG
    blocks = -(-5_010 // 244)
    assert len(meter.bench.requests) - before <= 2 + -(-blocks // gbt.WINDOW)


class Reel:
    """A `Link` that plays a meter's side of general block transfer from a list."""

    repairs, needs_release, streams, timing = False, True, True, Timing()

    def __init__(self, answers: list[bytes]) -> None:
        self.sent: list[GeneralBlock] = []
        self._answers = answers

    def request(self, *apdus: bytes) -> Conversation[bytes]:
        self.sent += [block for apdu in apdus if isinstance(block := decode_apdu(apdu), GeneralBlock)]
        return (yield from self.receive())

    def receive(self) -> Conversation[bytes]:
        yield from ()
        if not self._answers:
            raise LinkDown("nothing more")
        return self._answers.pop(0)


def test_blocks_not_confirmed_are_sent_again_from_the_hole_on() -> None:
    confirm = [GeneralBlock(0x80 | 3, 1, 1, b""), GeneralBlock(0x80 | 3, 2, 2, b""), GeneralBlock(0x80 | 3, 3, 5, b""), b"\xc5"]
    reel = Reel([c if isinstance(c, bytes) else c.octets() for c in confirm])
    answer = Bench(lambda request: b"").run(gbt.send(reel, bytes(50), 10 + gbt.HEAD_OCTETS))
    assert answer == b"\xc5"
    assert [b.number for b in reel.sent] == [1, 2, 3, 4, 3, 4, 5]
    assert [bool(b.control & 0x40) for b in reel.sent] == [False, True, True, False, True, True, False]
    assert [b.last for b in reel.sent] == [False] * 6 + [True]


def test_a_meter_that_confirms_what_was_never_sent_is_at_fault() -> None:
    reel = Reel([GeneralBlock(0x81, 1, 9, b"").octets()])
    with pytest.raises(MeterFault, match="9"):
        Bench(lambda request: b"").run(gbt.send(reel, bytes(50), 40))


def test_a_meter_that_never_confirms_comes_to_an_end() -> None:
    reel = Reel([GeneralBlock(0x81, 1, 0, b"").octets()] * 100)
    with pytest.raises(MeterFault):
        Bench(lambda request: b"").run(gbt.send(reel, bytes(50), 40))


def test_the_same_block_for_ever_comes_to_an_end() -> None:
    block = GeneralBlock(0x00, 7, 0, b"x").octets()
    with pytest.raises(LinkDown, match="block 1 does not come"):
        Bench(lambda request: b"").run(gbt.receive(Reel([block] * 100), block))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_gets_lost_a_value_is_whole_or_there_is_none(seed: int) -> None:
    dice = random.Random(seed)
    meter = wrapper_meter(max_pdu=200, block_transfer=True)
    client = wrapper_client(proposed=GENERAL)
    meter.bench.run(client.open())
    meter.bench.run(client.set(VALUE, LONG))

    def lossy(number: int, answer: bytes) -> bytes:
        return b"".join(p.pdu.octets() for p in scan(answer) if dice.random() > 0.1)

    meter.bench.damage = lossy
    try:
        assert meter.bench.run(client.get(VALUE)) == LONG
    except LinkDown:
        meter.bench.damage = lambda number, answer: answer
        assert meter.bench.run(client.get(VALUE)) == LONG


# Meters that do not follow


def scripted(*answers: bytes, conformance: Conformance = PROPOSED, max_pdu: int = 0xFFFF) -> Bench:
    """A meter that takes any association and then says this."""
    script = list(answers)

    def answer(request: bytes) -> bytes:
        asked = decode_apdu(scan(request)[0].pdu.apdu)
        if isinstance(asked, Aarq):
            said = Aare(Context.LOGICAL_NAME, 0, 0, initiate=InitiateResponse(conformance, max_pdu).octets()).octets()
        else:
            said = script.pop(0) if script else b""
        return WrapperPdu(1, 48, said).octets() if said else b""

    return Bench(answer)


def ask(bench: Bench, conversation_of) -> object:
    client = wrapper_client()
    bench.run(client.open())
    return bench.run(conversation_of(client))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ExceptionResponse(1, 2).octets(), "service not allowed: service not supported"),
        (ConfirmedServiceError(5, 1, 3).octets(), "refuses service 5"),
        (SetResponse(0xC1, Result(0)).octets(), "expected GetResponse, the meter sent SetResponse"),
        (b"\xff\xff", "no DLMS PDU"),
        (GetBlockResponse(0xC1, Block(False, 2, b"x")).octets(), "block 2 came, 1 was due"),
    ],
)
def test_an_answer_without_sense_is_the_meters_fault_in_words(answer: bytes, why: str) -> None:
    with pytest.raises(MeterFault, match=why):
        ask(scripted(answer), lambda client: client.get(SERIAL))


def test_a_refusal_within_blocks_is_a_refusal() -> None:
    first = GetBlockResponse(0xC1, Block(False, 1, b"\x09\x05ab")).octets()
    second = GetBlockResponse(0xC1, Block(True, 2, Result(15))).octets()
    with pytest.raises(AccessDenied, match="long get aborted"):
        ask(scripted(first, second), lambda client: client.get(SERIAL))


def test_octets_behind_a_value_in_blocks_are_passed_over() -> None:
    first = GetBlockResponse(0xC1, Block(False, 1, b"\x09\x02a")).octets()
    second = GetBlockResponse(0xC1, Block(True, 2, b"bJUNK")).octets()
    assert ask(scripted(first, second), lambda client: client.get(SERIAL)) == axdr.octet_string(b"ab")


def test_a_late_answer_to_another_request_is_passed_over() -> None:
    late = GetResponse(0xC5, axdr.octet_string(b"old")).octets()
    right = GetResponse(0xC1, axdr.octet_string(b"new")).octets()

    def answer(request: bytes) -> bytes:
        if scan(request)[0].pdu.apdu[:1] == b"\x60":
            return WrapperPdu(1, 48, Aare(Context.LOGICAL_NAME, 0, 0).octets()).octets()
        return WrapperPdu(1, 48, late).octets() + WrapperPdu(1, 48, right).octets()

    assert ask(Bench(answer), lambda client: client.get(SERIAL)) == axdr.octet_string(b"new")


def test_a_meter_that_stops_taking_blocks_of_a_set_is_heard() -> None:
    taken, refused = SetBlockResponse(0xC1, 1).octets(), SetResponse(0xC1, Result(17)).octets()
    bench = scripted(taken, refused, max_pdu=200)
    with pytest.raises(AccessDenied, match="long set aborted"):
        ask(bench, lambda client: client.set(VALUE, LONG))


def test_a_meter_that_confirms_another_block_of_a_set_is_at_fault() -> None:
    with pytest.raises(MeterFault, match="block 2 came, 1 was due"):
        ask(scripted(SetBlockResponse(0xC1, 2).octets(), max_pdu=200), lambda client: client.set(VALUE, LONG))


@pytest.mark.parametrize("given_back", [b"\x11\x05", b"\x00\x11\x05"])
def test_what_an_action_gives_back_in_blocks_stands_bare_or_behind_its_choice(given_back: bytes) -> None:
    block = ActionBlockResponse(0xC1, True, 1, given_back).octets()
    assert ask(scripted(block), lambda client: client.act(RETURN, None)) == Data(Tag.UINT8, 5)


def test_an_action_without_outcome_gives_nothing_back() -> None:
    assert ask(scripted(ActionResponse(0xC1, Result(0)).octets()), lambda client: client.act(RETURN, None)) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=30), min_size=1, max_size=4), st.sampled_from([b"", b"\xc4\x01\xc1", b"\xc4\x02\xc1", b"\xe0", b"\xd8"]))
def test_any_answers_end_in_a_value_or_one_clean_error(tails: list[bytes], head: bytes) -> None:
    bench = scripted(*(head + tail for tail in tails))
    client = wrapper_client()
    bench.run(client.open())
    try:
        value = bench.run(client.get(SERIAL))
    except GridtallyError:
        return
    assert isinstance(value, Data)
