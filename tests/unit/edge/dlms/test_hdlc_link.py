"""The HDLC link of the client: negotiation, windows, segments, and every way a frame can go missing."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_edge.protocols.dlms import axdr, hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Control, Frame, encode_frame, frames_of
from gridtally_edge.protocols.dlms.hdlc_link import HdlcLink
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters
from gridtally_edge.protocols.dlms.timing import LinkDropped, announced_length
from gridtally_edge.protocols.dlms.wrapper import WrapperPdu
from gridtally_edge.simulators.dlms_quirks import Quirk
from gridtally_shared.errors import GridtallyError, LinkDown
from support.dlms_bench import Bench
from support.dlms_meters import RETURN, SERIAL, VALUE, HdlcMeter, hdlc_client, hdlc_meter, long_value, security
from support.dlms_meters import access as meter_access

SMALL = LinkParameters(128, 128, 1, 1)
SPEECH = long_value(9_000)


def opened(meter: HdlcMeter, sizes: LinkParameters | None = None, **settings_: object):
    client = hdlc_client(sizes, **settings_) if sizes else hdlc_client(**settings_)
    meter.bench.run(client.open())
    return client


def test_the_largest_sizes_and_windows_are_agreed_in_both_directions() -> None:
    client = opened(hdlc_meter())
    assert client.link.agreed == LinkParameters(2_030, 2_030, 7, 7)


def test_the_smaller_of_both_wishes_holds() -> None:
    client = opened(hdlc_meter(frame_size=512, window=3), LinkParameters(256, 1_024, 7, 2))
    assert client.link.agreed == LinkParameters(256, 512, 3, 2)


def test_an_empty_ua_means_128_octets_and_one_frame() -> None:
    meter = hdlc_meter(Quirk.EMPTY_UA)
    client = opened(meter)
    assert client.link.agreed == LinkParameters(128, 128, 1, 1)
    meter.bench.run(client.set(VALUE, SPEECH))
    assert meter.bench.run(client.get(VALUE)) == SPEECH


def test_a_window_goes_out_in_one_write_with_the_poll_bit_on_its_last_frame() -> None:
    meter = hdlc_meter(max_pdu=60_000, frame_size=128)
    client = opened(meter)
    meter.bench.run(client.set(VALUE, long_value(2_000)))
    bursts = [frames_of(octets) for octets in meter.bench.requests if len(frames_of(octets)) > 1]
    assert [len(b) for b in bursts] == [7, 7, 2]
    assert all([f.poll for f in burst] == [False] * (len(burst) - 1) + [True] for burst in bursts)
    assert [f.send_number for burst in bursts for f in burst] == [(bursts[0][0].send_number + n) % 8 for n in range(16)]


def test_several_frames_answer_one_rr() -> None:
    meter = hdlc_meter(max_pdu=60_000, frame_size=128)
    client = opened(meter)
    meter.bench.run(client.set(VALUE, SPEECH))
    before = len(meter.bench.requests)
    assert meter.bench.run(client.get(VALUE)) == SPEECH
    frames = -(-9_010 // 128)
    assert len(meter.bench.requests) - before == -(-frames // 7)


@pytest.mark.parametrize("server", [Address(17), Address(1, 17, 2), Address(1, 17, 4)])
def test_addresses_of_one_two_and_four_octets(server: Address) -> None:
    meter = hdlc_meter()
    client = opened(meter, server=server)
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"


def test_segments_both_ways_in_the_smallest_frames() -> None:
    meter = hdlc_meter(max_pdu=60_000)
    client = opened(meter, SMALL)
    assert meter.bench.run(client.act(RETURN, SPEECH)) == SPEECH
    assert any(f.segmented for octets in meter.bench.requests for f in frames_of(octets))
    assert any(f.segmented for octets in meter.bench.answers for f in frames_of(octets))


def test_a_lost_request_is_repeated_frame_by_frame_the_same() -> None:
    meter = hdlc_meter()
    client = opened(meter)
    meter.bench.deaf = {len(meter.bench.requests) + 1}
    meter.bench.run(client.set(VALUE, SPEECH))
    assert meter.bench.run(client.get(VALUE)) == SPEECH


def test_a_lost_answer_is_asked_for_with_rr_and_nothing_is_done_twice() -> None:
    meter = hdlc_meter()
    client = opened(meter)
    lost = range(len(meter.bench.answers) + 1, len(meter.bench.answers) + 4)
    meter.bench.damage = lambda number, answer: b"" if number in lost else answer
    meter.bench.run(client.get(SERIAL))
    kinds = [frames_of(octets)[0].kind for octets in meter.bench.requests[-4:]]
    assert kinds == [Control.I, Control.I, Control.I, Control.RR]
    assert len(set(meter.bench.requests[-4:-1])) == 1


@pytest.mark.parametrize("quirk", [Quirk.REJECT, Quirk.BUSY, Quirk.LOSE_FRAME])
@pytest.mark.parametrize("sizes", [None, SMALL])
def test_rej_rnr_and_a_frame_lost_in_a_window_cost_nothing_but_time(quirk: Quirk, sizes: LinkParameters | None) -> None:
    meter = hdlc_meter(max_pdu=60_000)
    client = opened(meter, sizes)
    for _ in range(3):
        meter.quirks.add(quirk, 1)
        meter.bench.run(client.set(VALUE, SPEECH))
        meter.quirks.add(quirk, 1)
        assert meter.bench.run(client.get(VALUE)) == SPEECH


@pytest.mark.parametrize("quirk", [Quirk.FRAME_REJECT, Quirk.FORGET_LINK])
def test_a_forgotten_link_is_left_connected_again_and_a_get_asked_again(quirk: Quirk) -> None:
    meter = hdlc_meter()
    client = opened(meter)
    meter.quirks.add(quirk, 1)
    before = len(meter.bench.requests)
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"
    kinds = [frames_of(octets)[0].kind for octets in meter.bench.requests[before:]]
    assert kinds == [Control.I, Control.DISC, Control.SNRM, Control.I, Control.I]


def test_a_set_is_never_sent_again_by_itself_after_a_forgotten_link() -> None:
    meter = hdlc_meter()
    client = opened(meter)
    meter.quirks.add(Quirk.FORGET_LINK, 1)
    with pytest.raises(LinkDropped):
        meter.bench.run(client.set(VALUE, SPEECH))


def test_dm_to_snrm_is_a_refusal_in_words() -> None:
    refusal = encode_frame(Frame(Address(48), Address(1, 17, 2), hdlc.DM))
    with pytest.raises(LinkDown, match="refuses the link"):
        Bench(lambda request: refusal).run(HdlcLink(Address(48), Address(1, 17, 2)).connect())


def test_an_old_link_in_the_way_is_ended_first() -> None:
    answers = iter([hdlc.DM, hdlc.UA, hdlc.UA])
    bench = Bench(lambda request: encode_frame(Frame(Address(48), Address(1, 17, 2), next(answers))))
    bench.run(HdlcLink(Address(48), Address(1, 17, 2)).connect())
    assert [frames_of(octets)[0].kind for octets in bench.requests] == [Control.SNRM, Control.DISC, Control.SNRM]


def test_one_flag_between_the_frames_of_a_window_is_enough() -> None:
    meter = hdlc_meter(max_pdu=60_000, frame_size=128)
    client = opened(meter)
    meter.bench.run(client.set(VALUE, SPEECH))
    meter.bench.damage = lambda number, answer: b"".join(
        encode_frame(frame)[(n > 0) :] for n, frame in enumerate(frames_of(answer))
    )
    assert meter.bench.run(client.get(VALUE)) == SPEECH


def test_a_late_answer_to_the_question_before_is_not_taken() -> None:
    meter = hdlc_meter()
    client = opened(meter)
    meter.bench.run(client.set(VALUE, SPEECH))
    meter.bench.run(client.get(SERIAL))
    late = meter.bench.answers[-1]
    following = len(meter.bench.answers) + 3
    meter.bench.damage = lambda number, answer: late + answer if number < following else answer
    assert meter.bench.run(client.get(VALUE)) == SPEECH


@pytest.mark.parametrize("to", [48, 64])
def test_a_push_between_question_and_answer_is_handed_over(to: int) -> None:
    heard: list[bytes] = []
    meter = hdlc_meter()
    client = opened(meter, unsolicited=heard.append)
    push = encode_frame(Frame(Address(to), Address(1, 17, 2), hdlc.UI, hdlc.LLC_RESPONSE + b"\x0f\x00\x00\x00\x01\x00\x00"))
    meter.bench.damage = lambda number, answer: push + answer
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"
    assert heard == [b"\x0f\x00\x00\x00\x01\x00\x00"]


def test_frames_of_another_meter_or_client_are_no_answer() -> None:
    meter = hdlc_meter()
    client = opened(meter)
    foreign = [
        Frame(Address(48), Address(1, 18, 2), hdlc.information(1, 2), hdlc.LLC_RESPONSE + b"\xd8\x01\x01"),
        Frame(Address(32), Address(1, 17, 2), hdlc.information(1, 2), hdlc.LLC_RESPONSE + b"\xd8\x01\x01"),
    ]
    meter.bench.damage = lambda number, answer: b"".join(map(encode_frame, foreign)) + answer
    assert axdr.text_of(meter.bench.run(client.get(SERIAL))) == "S1"


def test_the_line_is_told_how_long_a_window_will_be_once_the_message_has_told_its_length() -> None:
    meter = hdlc_meter(max_pdu=60_000, frame_size=128, access=meter_access(ciphered=True))
    client = opened(meter, security=security())
    meter.bench.run(client.set(VALUE, SPEECH))
    exchanges, answers = len(meter.bench.exchanges), len(meter.bench.answers)
    assert meter.bench.run(client.get(VALUE)) == SPEECH
    asked = meter.bench.exchanges[exchanges:]
    assert asked[0].expected_bytes is None
    assert [e.expected_bytes for e in asked[1:]] == [len(a) for a in meter.bench.answers[answers + 1 :]]


def test_the_line_is_told_how_much_of_a_frame_is_still_to_come() -> None:
    frame = encode_frame(Frame(Address(48), Address(1, 17, 2), hdlc.information(0, 0), bytes(300)))
    assert [hdlc.missing(frame[:cut]) for cut in (0, 1, 2, 3, 4, 100, len(frame) - 1, len(frame))] == [
        0, 0, 0, len(frame) - 3, len(frame) - 4, len(frame) - 100, 1, 0,
    ]  # fmt: skip
    assert hdlc.missing(b"noise" + frame + frame[1:200]) == len(frame) - 200


@pytest.mark.parametrize(
    ("start", "length"),
    [
        ("cc820100", 0x104), ("db084142434445464748820203", 0x203 + 13), ("c402c1000000000100820064", 0x64 + 12),
        ("e08000010000820064", 0x64 + 9), ("c401c100", None), ("cc", None), ("", None), ("0f", None),
    ],
)  # fmt: skip
def test_what_the_start_of_a_pdu_tells_of_its_length(start: str, length: int | None) -> None:
    assert announced_length(bytes.fromhex(start)) == length


TURN_S = 0.010
DAY_OF_ROWS = 4_322
"""Octets of 96 rows of 8 columns (performance.md)."""


@pytest.mark.parametrize(("baud", "due"), [(9_600, 0.95), (115_200, 0.80)])
def test_a_profile_read_leaves_the_line_hardly_ever_idle(baud: int, due: float) -> None:
    """Octets of ten bits, and a turn of 10 ms before each request and each answer: what the exchanges alone allow."""
    meter = hdlc_meter(max_pdu=60_000)
    client = opened(meter)
    meter.bench.run(client.set(VALUE, long_value(DAY_OF_ROWS)))
    meter.bench.tape, exchanges = b"", len(meter.bench.exchanges)
    meter.bench.run(client.get(VALUE))
    busy_s = len(meter.bench.tape) * 10 / baud
    idle_s = 2 * TURN_S * (len(meter.bench.exchanges) - exchanges)
    assert busy_s / (busy_s + idle_s) >= due


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([LinkParameters(128, 128, 1, 1), LinkParameters(128, 256, 4, 7)]))
def test_whatever_the_line_does_a_value_is_right_or_there_is_none(seed: int, sizes: LinkParameters) -> None:
    dice = random.Random(seed)
    meter = hdlc_meter(max_pdu=60_000)
    client = opened(meter, sizes)
    value = long_value(1_500)
    meter.bench.run(client.set(VALUE, value))

    def spoil(number: int, answer: bytes) -> bytes:
        frames = [encode_frame(frame) for frame in frames_of(answer)]
        kept = [f for f in frames if dice.random() > 0.05]
        octets = bytearray(b"".join(kept * (2 if dice.random() < 0.05 else 1)))
        if octets and dice.random() < 0.1:
            octets[dice.randrange(len(octets))] ^= 1 << dice.randrange(8)
        return bytes(octets)

    meter.bench.damage = spoil
    meter.bench.deaf = {dice.randrange(5, 40) for _ in range(3)}
    try:
        assert meter.bench.run(client.get(VALUE)) == value
    except LinkDown:
        meter.bench.damage = lambda number, answer: answer
        meter.bench.deaf = set()
        assert meter.bench.run(client.get(VALUE)) == value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(0, 7), st.integers(0, 7))
def test_whatever_a_meter_says_the_conversation_ends(speech: list[bytes], number: int, window: int) -> None:
    meter = hdlc_meter(max_pdu=60_000)
    client = opened(meter)
    answers = iter(range(10_000))
    controls = [hdlc.information(number, window), hdlc.receive_ready(window), hdlc.not_ready(number), hdlc.reject(window)]

    def nonsense(sequence: int, answer: bytes) -> bytes:
        n = next(answers)
        information = speech[n % len(speech)] if speech else b""
        control = controls[(n + number) % 4]
        return encode_frame(Frame(Address(48), Address(1, 17, 2), control ^ 2 * (n % 8) * (control & 1 == 0), information, n % 3 == 0))

    meter.bench.damage = nonsense
    with contextlib.suppress(GridtallyError):
        meter.bench.run(client.act(RETURN, SPEECH))
    assert len(meter.bench.requests) < 2_000


def test_wrapper_octets_are_no_frame() -> None:
    assert frames_of(WrapperPdu(1, 2, b"abc").octets()) == ()
