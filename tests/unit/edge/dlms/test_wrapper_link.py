"""The wrapper link of the client over streams and datagrams: what comes between, what is repeated, what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.ciphering import CipherKeys, GeneralGlo, seal
from gridtally_edge.protocols.dlms.notification import (
    DataNotification,
    DataNotificationConfirm,
    EventNotification,
    confirmation_of,
)
from gridtally_edge.protocols.dlms.wrapper import WrapperPdu, scan
from gridtally_shared.errors import LinkDown
from support.dlms_meters import (
    KEYS,
    SERIAL,
    VALUE,
    access,
    long_value,
    security,
    wrapper_client,
    wrapper_meter,
)

PUSH = DataNotification(0x40000007, b"", b"\x02\x00")
EVENT = EventNotification(None, SERIAL, axdr.octet_string(b"alarm"))


def opened(meter, **settings):
    client = wrapper_client(**settings)
    meter.bench.run(client.open())
    return client


@pytest.mark.parametrize("datagrams", [False, True])
@pytest.mark.parametrize("push", [PUSH.octets(), EVENT.octets()])
def test_a_push_between_question_and_answer_is_no_answer(datagrams: bool, push: bytes) -> None:
    heard: list[bytes] = []
    meter = wrapper_meter()
    client = opened(meter, datagrams=datagrams, unsolicited=heard.append)
    meter.bench.damage = lambda number, answer: WrapperPdu(1, 48, push).octets() + answer
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"
    assert heard == [push]


def test_a_ciphered_push_between_is_told_apart_once_it_is_open() -> None:
    heard: list[bytes] = []
    meter = wrapper_meter(access=access(ciphered=True))
    client = opened(meter, security=security(), unsolicited=heard.append)
    keys = CipherKeys(KEYS.unicast, KEYS.authentication)
    ciphers = meter.slave.meter.device.ciphers
    ciphers.sent += 100
    push = GeneralGlo(KEYS.title, seal(keys, KEYS.title, ciphers.sent - 50, 0x30, PUSH.octets())).octets()
    meter.bench.damage = lambda number, answer: WrapperPdu(1, 48, push).octets() + answer
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"
    assert heard == [PUSH.octets()]


def test_pdus_for_other_ports_are_no_answer() -> None:
    meter = wrapper_meter()
    client = opened(meter)
    strange = WrapperPdu(1, 49, b"\xd8\x01\x01").octets() + WrapperPdu(2, 48, b"\xd8\x01\x01").octets()
    meter.bench.damage = lambda number, answer: strange + answer
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"


def test_strange_datagrams_before_the_answer_are_passed_over() -> None:
    meter = wrapper_meter()
    client = opened(meter, datagrams=True)
    meter.bench.damage = lambda number, answer: b"\x00\x01\x00\x01junk" + b"\x16\x03\x01" + answer
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"


def test_a_lost_datagram_of_a_get_is_asked_again_under_a_new_number() -> None:
    meter = wrapper_meter(access=access(ciphered=True))
    client = opened(meter, datagrams=True, security=security())
    lost = len(meter.bench.answers) + 1
    meter.bench.damage = lambda number, answer: b"" if number == lost else answer
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"
    first, second = (decode_apdu(scan(octets)[0].pdu.apdu).sealed.counter for octets in meter.bench.requests[-2:])
    assert second == first + 1


def test_a_set_is_sent_once_even_if_no_answer_comes() -> None:
    meter = wrapper_meter()
    client = opened(meter, datagrams=True)
    before = len(meter.bench.requests)
    meter.bench.damage = lambda number, answer: b""
    with pytest.raises(LinkDown):
        meter.bench.run(client.set(VALUE, long_value(5)))
    sent = [scan(octets)[0].pdu.apdu[:1] for octets in meter.bench.requests[before:]]
    assert sent.count(b"\xc1") == 1


def test_on_a_stream_nothing_is_ever_repeated() -> None:
    meter = wrapper_meter()
    client = opened(meter)
    assert all(not exchange.repeatable for exchange in meter.bench.exchanges)
    before = len(meter.bench.requests)
    meter.bench.damage = lambda number, answer: b""
    with pytest.raises(LinkDown):
        meter.bench.run(client.get(SERIAL))
    assert [scan(octets)[0].pdu.apdu[:1] for octets in meter.bench.requests[before:]] == [b"\xc0"]


def test_a_push_that_wants_to_be_confirmed_is() -> None:
    confirmation = confirmation_of(PUSH)
    assert confirmation == DataNotificationConfirm(0x40000007)
    assert decode_apdu(confirmation.octets()) == confirmation
    assert confirmation_of(DataNotification(7, b"", b"")) is None


def test_a_pdu_too_long_for_the_wrapper_is_our_own_misuse() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        WrapperPdu(1, 2, bytes(70_000)).octets()


@given(st.binary(max_size=40), st.lists(st.binary(max_size=12), max_size=4))
def test_whole_pdus_are_found_behind_any_junk(junk: bytes, apdus: list[bytes]) -> None:
    octets = b"".join(WrapperPdu(1, 48, apdu).octets() for apdu in apdus)
    assert [p.pdu.apdu for p in scan(octets)] == apdus
    found = scan(junk.replace(b"\x00", b"\x02") + octets, resync=True)
    assert [p.pdu.apdu for p in found] == apdus
    scan(junk, resync=True)
