"""Associations: every authentication, every way of ciphering, counters, and meters that can not prove themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_edge.protocols.dlms import axdr, hls
from gridtally_edge.protocols.dlms.acse import Aare, Aarq, Context, Mechanism, Rlre
from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.capture import read_capture
from gridtally_edge.protocols.dlms.ciphering import CipheredService, CipherKeys, GeneralCiphered, GeneralGlo, seal, unseal
from gridtally_edge.protocols.dlms.client import PROPOSED, Login
from gridtally_edge.protocols.dlms.counters import MemoryCounters
from gridtally_edge.protocols.dlms.hls import Party, Secrets
from gridtally_edge.protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from gridtally_edge.protocols.dlms.notification import ExceptionResponse
from gridtally_edge.protocols.dlms.security import CounterRepair, Form, Guard, Policy, Security, repair_counter
from gridtally_edge.protocols.dlms.services import GetRequest, GetResponse
from gridtally_edge.protocols.dlms.wrapper import WrapperPdu, scan
from gridtally_edge.simulators.dlms_quirks import Quirk
from gridtally_shared.errors import LinkDown, MeterFault
from support.dlms_bench import Bench
from support.dlms_meters import (
    CLOCK,
    KEYS,
    KEYS_256,
    RETURN,
    SECRET,
    SERIAL,
    TITLE,
    VALUE,
    access,
    hdlc_client,
    hdlc_meter,
    long_value,
    security,
    wrapper_client,
    wrapper_meter,
)

HLS = [Mechanism.HLS, Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_GMAC, Mechanism.HLS_SHA256]
VALUE_3000 = long_value(3_000)


def exercise(meter, client) -> None:
    """Associate, read, write, act, with values that need blocks; leave."""
    meter.bench.run(client.open())
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"
    meter.bench.run(client.set(VALUE, VALUE_3000))
    assert meter.bench.run(client.get(VALUE)) == VALUE_3000
    assert meter.bench.run(client.act(RETURN, VALUE_3000)) == VALUE_3000
    meter.bench.run(client.close())


@pytest.mark.parametrize("mechanism", [Mechanism.LLS, *HLS])
@pytest.mark.parametrize("over_ip", [False, True])
def test_each_mechanism_in_a_plain_context(mechanism: Mechanism, over_ip: bool) -> None:
    meter = wrapper_meter(access=access(mechanism)) if over_ip else hdlc_meter(access=access(mechanism))
    titled = mechanism in (Mechanism.HLS_GMAC, Mechanism.HLS_SHA256)
    settings_ = {"login": Login(mechanism, SECRET), "security": security(policy=Policy.NONE) if titled else None}
    exercise(meter, wrapper_client(**settings_) if over_ip else hdlc_client(**settings_))


@pytest.mark.parametrize("keys", [KEYS, replace(KEYS, suite=1), KEYS_256], ids=["suite 0", "suite 1", "suite 2"])
@pytest.mark.parametrize("mechanism", [Mechanism.LLS, Mechanism.HLS, Mechanism.HLS_GMAC])
@pytest.mark.parametrize("form", [Form.SERVICE, Form.GENERAL])
@pytest.mark.parametrize("dedicated", [False, True])
def test_each_way_of_ciphering(keys, mechanism: Mechanism, form: Form, dedicated: bool) -> None:
    meter = wrapper_meter(access=access(mechanism, True, keys))
    client = wrapper_client(
        login=Login(mechanism, SECRET),
        security=security(keys, form=form, dedicated=dedicated),
        proposed=PROPOSED | Conformance.GENERAL_PROTECTION,
    )
    exercise(meter, client)


@pytest.mark.parametrize("policy", [Policy.AUTHENTICATED, Policy.ENCRYPTED, Policy.BOTH])
def test_each_policy(policy: Policy) -> None:
    meter = hdlc_meter(access=access())
    exercise(meter, hdlc_client(security=security(policy=policy)))
    sealed = [decode_apdu(p) for p in apdus_of(meter.bench.requests) if p[:1] in (b"\xc8", b"\xc9", b"\xcb")]
    assert sealed
    assert {s.sealed.security for s in sealed} == {int(policy)}


def apdus_of(octets: list[bytes]) -> list[bytes]:
    capture = read_capture(b"".join(octets))
    assert capture is not None
    return capture.apdus


def test_a_dedicated_key_is_new_for_each_association() -> None:
    first, second = (Guard.begin(security(dedicated=True)).dedicated for _ in range(2))
    assert first
    assert second
    assert first.encryption != second.encryption


def test_nothing_of_a_ciphered_association_can_be_read_on_the_line() -> None:
    meter = wrapper_meter(access=access(Mechanism.HLS, True))
    client = wrapper_client(login=Login(Mechanism.HLS, SECRET), security=security())
    exercise(meter, client)
    line = b"".join(meter.bench.requests) + b"".join(meter.bench.answers)
    assert SECRET not in line
    assert bytes(range(64)) not in line


def test_every_number_is_used_once() -> None:
    meter = wrapper_meter(access=access(Mechanism.HLS_GMAC, True))
    exercise(meter, wrapper_client(login=Login(Mechanism.HLS_GMAC), security=security()))
    numbers = [counter_of(pdu.pdu.apdu) for octets in meter.bench.requests for pdu in scan(octets)]
    used = [n for n in numbers if n is not None]
    assert len(used) > 10
    assert used == sorted(set(used))


def counter_of(apdu: bytes) -> int | None:
    message = decode_apdu(apdu)
    return message.sealed.counter if isinstance(message, CipheredService) else None


# The meter's own proof


@pytest.mark.parametrize("mechanism", HLS)
def test_a_meter_that_does_not_know_the_secret_is_left_alone(mechanism: Mechanism) -> None:
    meter = wrapper_meter(access=access(mechanism))
    settings_ = security(policy=Policy.NONE)
    client = wrapper_client(login=Login(mechanism, SECRET), security=settings_)

    def forged(number: int, answer: bytes) -> bytes:
        return answer[:-1] + bytes([answer[-1] ^ 1]) if number == 2 else answer

    meter.bench.damage = forged
    with pytest.raises(MeterFault, match="could not prove"):
        meter.bench.run(client.open())
    assert client.agreed is None
    assert scan(meter.bench.requests[-1])[0].pdu.apdu[:1] == b"\x62"


@pytest.mark.parametrize("mechanism", HLS)
def test_our_own_proof_sent_back_is_no_proof(mechanism: Mechanism) -> None:
    secrets = Secrets(SECRET, CipherKeys(KEYS.unicast, KEYS.authentication))
    ours, theirs = Party(TITLE, b"c" * 16), Party(b"MTR12345", b"s" * 16)
    proof = hls.answer(mechanism, secrets, ours, theirs, 7)
    assert hls.is_right(mechanism, secrets, theirs, ours, proof)
    assert not hls.is_right(mechanism, secrets, ours, theirs, proof)


def test_our_own_challenge_sent_back_is_refused() -> None:
    def echo(request: bytes) -> bytes:
        asked = decode_apdu(scan(request)[0].pdu.apdu)
        if not isinstance(asked, Aarq):
            return WrapperPdu(1, 48, Rlre(0).octets()).octets()
        granted = InitiateResponse(PROPOSED, 0xFFFF).octets()
        answer = Aare(Context.LOGICAL_NAME, 0, 14, challenge=asked.secret, mechanism=asked.mechanism, initiate=granted)
        return WrapperPdu(1, 48, answer.octets()).octets()

    with pytest.raises(MeterFault, match="no challenge of its own"):
        Bench(echo).run(wrapper_client(login=Login(Mechanism.HLS_MD5, SECRET)).open())


def test_a_wrong_secret_is_told_as_such() -> None:
    meter = wrapper_meter(access=access(Mechanism.HLS_MD5))
    with pytest.raises(MeterFault, match="check password and keys"):
        meter.bench.run(wrapper_client(login=Login(Mechanism.HLS_MD5, b"wrong")).open())


def test_a_gmac_proof_of_another_length_or_kind_is_no_proof() -> None:
    secrets = Secrets(b"", CipherKeys(KEYS.unicast, KEYS.authentication))
    ours, theirs = Party(TITLE, b"c" * 16), Party(b"MTR12345", b"s" * 16)
    right = hls.answer(Mechanism.HLS_GMAC, secrets, theirs, ours, 9)
    assert hls.is_right(Mechanism.HLS_GMAC, secrets, ours, theirs, right)
    for wrong in (b"", right[:-1], b"\x30" + right[1:], right + b"\x00"):
        assert not hls.is_right(Mechanism.HLS_GMAC, secrets, ours, theirs, wrong)
    assert not hls.is_right(Mechanism.HLS_GMAC, secrets, ours, Party(b"", b"s" * 16), right)


def test_hls_2_is_aes_of_the_challenge() -> None:
    """FIPS 197, appendix C.1."""
    key, block = bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff")
    got = hls.answer(Mechanism.HLS, Secrets(key), Party(b"", b""), Party(b"", block))
    assert got.hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


def test_mechanisms_that_can_not_be_answered_are_our_own_misuse() -> None:
    with pytest.raises(ValueError, match="signature"):
        Login(Mechanism.HLS_ECDSA)
    with pytest.raises(ValueError, match="can not be answered"):
        hls.answer(Mechanism.LLS, Secrets(b""), Party(b"", b""), Party(b"", b""))
    with pytest.raises(ValueError, match="16 octets"):
        hls.answer(Mechanism.HLS, Secrets(b"short"), Party(b"", b""), Party(b"", b"x"))


# What is not protected as agreed


def guard(**settings_: object) -> Guard:
    return replace(Guard.begin(security(**settings_)), meter_title=b"MTR12345")


def meters_answer(counter: int = 5, control: int = 0x30, title: bytes = b"MTR12345", tag: int = 0xCC) -> CipheredService:
    plain = GetResponse(0xC1, axdr.octet_string(b"x")).octets()
    return CipheredService(tag, seal(CipherKeys(KEYS.unicast, KEYS.authentication), title, counter, control, plain))


def test_a_sound_answer_is_opened() -> None:
    assert guard().open(meters_answer().octets())[:1] == b"\xc4"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (GetResponse(0xC1, axdr.octet_string(b"x")).octets(), "without the protection"),
        (meters_answer(control=0x20).octets(), "less protection"),
        (meters_answer(title=b"OTHER123").octets(), "tag is wrong"),
        (meters_answer(tag=0xCD).octets(), "another service"),
        (meters_answer(tag=0xD4).octets(), "never agreed"),
        (GeneralGlo(b"OTHER123", meters_answer().sealed).octets(), "not from this meter"),
    ],
)
def test_an_answer_that_is_not_protected_as_agreed_is_refused(answer: bytes, why: str) -> None:
    with pytest.raises(MeterFault, match=why):
        guard().open(answer)


def test_a_refusal_may_come_plain() -> None:
    plain = ExceptionResponse(2, 5).octets()
    assert guard().open(plain) == plain


def test_a_repeated_answer_is_a_replay_in_a_later_association_too() -> None:
    counters = MemoryCounters()
    guard(counters=counters).open(meters_answer(5).octets())
    with pytest.raises(MeterFault, match="did not rise"):
        guard(counters=counters).open(meters_answer(5).octets())
    guard(counters=counters).open(meters_answer(6).octets())


def test_general_ciphering_authenticates_its_head_both_ways() -> None:
    one = guard(form=Form.CIPHERED)
    request = GetRequest(0xC1, SERIAL).octets()
    message = decode_apdu(one.seal(request))
    assert isinstance(message, GeneralCiphered)
    keys = CipherKeys(KEYS.unicast, KEYS.authentication)
    assert unseal(keys, TITLE, message.sealed, message.header()).plaintext == request
    with pytest.raises(MeterFault):
        unseal(keys, TITLE, message.sealed, replace(message, time=b"\x01").header())
    answer = replace(message, title=b"MTR12345", recipient=TITLE)
    plain = GetResponse(0xC1, axdr.octet_string(b"x")).octets()
    for counter, header in ((1, answer.header()), (2, b"")):
        sealed = seal(keys, b"MTR12345", counter, 0x30, plain, header)
        assert one.open(replace(answer, sealed=sealed).octets()) == plain


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"", b"\xcc", b"\xdb", b"\xdc", b"\xdd", b"\x28", b"\xd4"]))
def test_any_octets_are_refused(octets: bytes, tag: bytes) -> None:
    if (tag + octets)[:1] in (b"\xd8", b"\x0e"):
        return
    with pytest.raises(MeterFault):
        guard().open(tag + octets)


def test_keys_that_do_not_fit_the_suite_are_our_own_misuse() -> None:
    with pytest.raises(ValueError, match="suite 2 needs keys of 32"):
        Security(TITLE, CipherKeys(bytes(16), bytes(16)), MemoryCounters(), suite=2)
    with pytest.raises(ValueError, match="authentication key"):
        Security(TITLE, CipherKeys(bytes(16)), MemoryCounters())
    with pytest.raises(ValueError, match="travel encrypted"):
        security(policy=Policy.AUTHENTICATED, dedicated=True)


def test_nothing_secret_is_shown() -> None:
    asked = Aarq(secret=SECRET), InitiateRequest(PROPOSED, dedicated_key=KEYS.unicast)
    shown = repr(security()) + repr(Login(Mechanism.HLS, SECRET)) + repr(Secrets(SECRET)) + repr(asked)
    assert KEYS.unicast.hex() not in shown
    assert repr(KEYS.unicast) not in shown
    assert "0123456789" not in shown


# Counters


def test_a_counter_that_is_behind_is_repaired_once_and_told() -> None:
    told: list[CounterRepair] = []
    meter = wrapper_meter(access=access(Mechanism.LLS, True))
    shield = security(on_repair=told.append)
    client = wrapper_client(security=shield)
    meter.bench.run(client.open())
    meter.quirks.add(Quirk.COUNTER_ERROR, 1)
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"
    (repair,) = told
    assert repair.theirs - repair.ours in range(900, 1_001)
    assert shield.counters.next_of(shield.channel) > repair.theirs


def test_a_counter_is_repaired_within_the_association_request_too() -> None:
    told: list[CounterRepair] = []
    meter = wrapper_meter(Quirk.COUNTER_ERROR, access=access(Mechanism.LLS, True))
    meter.quirks.clear()
    meter.quirks.add(Quirk.COUNTER_ERROR, 1)
    meter.bench.run(wrapper_client(security=security(on_repair=told.append)).open())
    assert len(told) == 1


def test_a_jump_beyond_the_bound_is_not_followed() -> None:
    meter = wrapper_meter(access=access(Mechanism.LLS, True))
    shield = security(max_jump=500)
    client = wrapper_client(security=shield)
    meter.bench.run(client.open())
    meter.quirks.add(Quirk.COUNTER_ERROR, 1)
    with pytest.raises(MeterFault, match="not followed"):
        meter.bench.run(client.get(SERIAL))
    assert shield.counters.next_of(shield.channel) < 100


def test_a_meter_that_wants_a_counter_back_is_not_followed() -> None:
    shield = security()
    shield.counters.raise_to(shield.channel, 1_000)
    with pytest.raises(MeterFault, match="not followed"):
        repair_counter(shield, 999)
    repair_counter(shield, 1_000)
    assert shield.counters.next_of(shield.channel) == 1_001


def test_a_used_up_counter_sends_nothing() -> None:
    counters = MemoryCounters()
    counters.raise_to("x", 0xFFFF_FFFF)
    assert counters.take("x") == 0xFFFF_FFFF
    with pytest.raises(MeterFault, match="used up"):
        counters.take("x")


# Release and tolerance


def test_a_meter_that_does_not_answer_the_release_is_left_all_the_same() -> None:
    meter = wrapper_meter(Quirk.NO_RLRE)
    client = wrapper_client()
    exercise(meter, client)
    assert client.agreed is None


@pytest.mark.parametrize("release", [Rlre(None), Rlre(0, None), Rlre(0, b"\x28\x00")])
def test_a_release_without_or_with_strange_user_information_is_fine(release: Rlre) -> None:
    meter = wrapper_meter()
    client = wrapper_client()
    meter.bench.run(client.open())
    meter.bench.damage = lambda number, answer: WrapperPdu(1, 48, release.octets()).octets()
    meter.bench.run(client.close())


def test_a_ciphered_association_is_released_under_its_key() -> None:
    meter = wrapper_meter(access=access(Mechanism.LLS, True))
    client = wrapper_client(security=security())
    exercise(meter, client)
    release = decode_apdu(scan(meter.bench.requests[-1])[0].pdu.apdu)
    assert release.initiate[:1] == b"\x21"


@pytest.mark.parametrize("quirk", [Quirk.TRAILING, Quirk.DOUBLE_CLOCK])
def test_octets_behind_a_value_change_nothing(quirk: Quirk) -> None:
    meter, sound = hdlc_meter(quirk), hdlc_meter()
    times = []
    for one in (meter, sound):
        client = hdlc_client()
        one.bench.run(client.open())
        times.append(one.bench.run(client.get(CLOCK)))
    assert times[0] == times[1]
    assert len(meter.bench.answers[-1]) > len(sound.bench.answers[-1])


def test_a_preestablished_association_asks_for_nothing() -> None:
    shield = security(meter_title=b"MTR12345")
    client = wrapper_client(login=Login(preestablished=True), security=shield)
    bench = Bench(lambda request: b"")
    bench.run(client.open())
    bench.run(client.close())
    assert bench.requests == []


def test_a_silent_meter_is_told_so() -> None:
    with pytest.raises(LinkDown):
        Bench(lambda request: b"").run(wrapper_client().open())
