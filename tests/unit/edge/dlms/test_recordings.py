"""`gridtally decode` on whole recorded conversations: every authentication and every way of ciphering, with and
without keys, and with damage."""

from __future__ import annotations

import pytest

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.axdr import octet_string
from gridtally_edge.protocols.dlms.ciphering import CipherKeys, GeneralCiphered, Sealed, seal
from gridtally_edge.protocols.dlms.client import PROPOSED, Login
from gridtally_edge.protocols.dlms.hdlc import Address, Frame, encode_frame
from gridtally_edge.protocols.dlms.initiate import Conformance
from gridtally_edge.protocols.dlms.security import Form, Policy
from gridtally_edge.protocols.dlms.services import GetResponse
from gridtally_edge.protocols.explain import explain_dlms
from gridtally_shared.explain import Explanation, Keys
from support.dlms_bench import Bench
from support.dlms_meters import (
    CLOCK,
    KEYS,
    KEYS_256,
    SECRET,
    SERIAL,
    VALUE,
    access,
    hdlc_client,
    hdlc_meter,
    long_value,
    security,
    wrapper_client,
    wrapper_meter,
)

FIRMWARE = attribute(1, "1.0.0.2.0.255", 2)
GIVEN = Keys(KEYS.unicast, KEYS.authentication)


def session(meter, client) -> bytes:
    """Associate, read, leave; all octets of the line."""
    meter.bench.run(client.open())
    meter.bench.run(client.get(SERIAL))
    meter.bench.run(client.get_list((SERIAL, FIRMWARE)))
    meter.bench.run(client.close())
    return meter.bench.tape


def explained(octets: bytes, keys: Keys = GIVEN) -> Explanation:
    found = explain_dlms(octets, keys)
    assert found is not None
    return found


def named(found: Explanation) -> list[tuple[str, object]]:
    return [(r.obis, r.value) for r in found.readings if r.obis == str(SERIAL.obis)]


@pytest.mark.parametrize("over_ip", [False, True])
@pytest.mark.parametrize("form", [Form.SERVICE, Form.GENERAL])
@pytest.mark.parametrize("dedicated", [False, True])
@pytest.mark.parametrize("mechanism", [Mechanism.LLS, Mechanism.HLS_GMAC])
def test_a_ciphered_conversation_is_read_with_the_keys(over_ip: bool, form: Form, dedicated: bool, mechanism: Mechanism) -> None:
    meter = (wrapper_meter if over_ip else hdlc_meter)(access=access(mechanism, True))
    shield = security(form=form, dedicated=dedicated)
    make = wrapper_client if over_ip else hdlc_client
    client = make(login=Login(mechanism, SECRET), security=shield, proposed=PROPOSED | Conformance.GENERAL_PROTECTION)
    found = explained(session(meter, client))
    assert found.faults == ()
    assert named(found) == [(str(SERIAL.obis), "S1")] * 2
    assert not any("not verified" in line for line in found.lines)


@pytest.mark.parametrize("policy", [Policy.AUTHENTICATED, Policy.ENCRYPTED])
def test_each_policy_is_read(policy: Policy) -> None:
    found = explained(session(hdlc_meter(), hdlc_client(security=security(policy=policy))))
    assert found.faults == ()
    assert len(named(found)) == 2


def test_suite_2_is_read() -> None:
    meter = wrapper_meter(access=access(Mechanism.LLS, True, KEYS_256))
    octets = session(meter, wrapper_client(security=security(KEYS_256)))
    assert len(named(explained(octets, Keys(KEYS_256.unicast, KEYS_256.authentication)))) == 2


def test_a_ciphered_conversation_with_frames_in_windows_and_general_blocks() -> None:
    meter = hdlc_meter(access=access(Mechanism.LLS, True), max_pdu=200, frame_size=128, block_transfer=True)
    client = hdlc_client(security=security(), proposed=PROPOSED & ~Conformance.BLOCK_GET | Conformance.GENERAL_BLOCK_TRANSFER)
    meter.bench.run(client.open())
    meter.bench.run(client.set(VALUE, long_value(300)))
    meter.bench.run(client.get(VALUE))
    found = explained(meter.bench.tape)
    assert found.faults == ()
    assert [r for r in found.readings if r.obis == str(VALUE.obis)]


def test_a_list_is_named_by_its_request() -> None:
    found = explained(session(wrapper_meter(), wrapper_client()), Keys())
    assert [r.obis for r in found.readings] == [str(SERIAL.obis), str(SERIAL.obis), str(FIRMWARE.obis)]


def test_a_list_in_blocks_is_named_by_its_request() -> None:
    meter, client = wrapper_meter(max_pdu=128), wrapper_client()
    meter.bench.run(client.open())
    meter.bench.run(client.set(VALUE, long_value(200)))
    meter.bench.tape = b""
    meter.bench.run(client.get_list((SERIAL, VALUE, CLOCK)))
    found = explained(meter.bench.tape, Keys())
    assert [r.obis for r in found.readings] == [str(a.obis) for a in (SERIAL, VALUE, CLOCK)]


def test_without_keys_it_asks_for_them_and_shows_no_value() -> None:
    meter = wrapper_meter(access=access(Mechanism.LLS, True))
    found = explained(session(meter, wrapper_client(security=security())), Keys())
    assert found.readings == ()
    assert any("--key" in line for line in found.lines)


def test_wrong_keys_show_no_value() -> None:
    meter = wrapper_meter(access=access(Mechanism.LLS, True))
    found = explained(session(meter, wrapper_client(security=security())), Keys(b"x" * 16, b"y" * 16))
    assert found.readings == ()
    assert any("tag is wrong" in fault for fault in found.faults)


@pytest.mark.parametrize("with_head", [True, False])
def test_general_ciphering_is_read(with_head: bool) -> None:
    plain = GetResponse(0xC1, octet_string(b"S1")).octets()
    empty = GeneralCiphered(b"12345678", KEYS.title, b"GRT12345", b"", b"", b"\x00\x00", Sealed(0, 0, b""))
    sealed = seal(CipherKeys(KEYS.unicast, KEYS.authentication), KEYS.title, 9, 0x30, plain, empty.header() if with_head else b"")
    octets = GeneralCiphered(b"12345678", KEYS.title, b"GRT12345", b"", b"", b"\x00\x00", sealed).octets()
    found = explained(octets)
    assert [r.value for r in found.readings] == ["S1"]
    assert found.proved


def test_a_flipped_bit_anywhere_shows_no_other_value() -> None:
    meter = hdlc_meter(access=access(Mechanism.LLS, True))
    octets = session(meter, hdlc_client(security=security()))
    sound = {(r.obis, r.value) for r in explained(octets).readings}
    for bit in range(0, len(octets) * 8, 29):
        damaged = bytearray(octets)
        damaged[bit // 8] ^= 1 << bit % 8
        found = explained(bytes(damaged))
        assert {r.value for r in found.readings} <= {value for _, value in sound}


def test_a_bare_ded_pdu_opens_with_the_dedicated_key_given() -> None:
    frame = encode_frame(Frame(Address(48), Address(1, 17, 2), hdlc.UI, hdlc.LLC_RESPONSE + b"\xd4\x05\x30\x00\x00\x00\x01"))
    found = explained(frame)
    assert any("not in this recording" in fault for fault in found.faults)


def test_an_empty_tape_is_nothing() -> None:
    assert explain_dlms(Bench(lambda request: b"").tape, GIVEN) is None
