"""HDLC frames: recorded ones both ways, damage, shared flags, resynchronisation."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_edge.protocols.dlms import hdlc
from gridtally_edge.protocols.dlms.hdlc import Address, Control, Frame, encode_frame, frames_of, pending_from
from gridtally_edge.protocols.dlms.link_parameters import LinkParameters, read_parameters
from gridtally_shared.errors import MeterFault
from support.data import data_path

SNRM = bytes.fromhex("7ea00802232193bd647e")


def recorded_frames() -> list[bytes]:
    pdus = json.loads(data_path("dlms/xdlms_pdus.json").read_text())["pdus"]
    pushes = json.loads(data_path("dlms/push_real_meters.json").read_text())["cases"]
    frames = [bytes.fromhex(p["hex"]) for p in pdus if p["kind"] == "hdlc-frame"]
    return frames + [bytes.fromhex(p["raw_hex"]) for p in pushes if p["name"] == "hdlc_norway_han_1phase"]


def test_recorded_frames_encode_to_the_same_octets() -> None:
    for octets in recorded_frames():
        (frame,) = frames_of(octets)
        assert encode_frame(frame) == octets


def test_a_frame_without_information() -> None:
    (frame,) = frames_of(SNRM)
    assert frame == Frame(Address(1, 17, 2), Address(16), hdlc.SNRM)
    assert frame.kind is Control.SNRM


def test_any_flipped_bit_of_a_recorded_frame_yields_no_frame() -> None:
    for octets in recorded_frames():
        for bit in range(len(octets) * 8):
            damaged = bytearray(octets)
            damaged[bit // 8] ^= 1 << bit % 8
            assert frames_of(bytes(damaged)) == ()


def test_one_flag_may_close_and_open() -> None:
    assert len(frames_of(SNRM + SNRM[1:])) == 2


def test_a_flag_inside_the_information_is_data() -> None:
    frame = Frame(Address(16), Address(1, 17, 2), hdlc.UI, b"\x7e\x7e" + SNRM + b"\x7e\xa0")
    assert frames_of(encode_frame(frame)) == (frame,)


def test_nothing_is_found_inside_an_unfinished_frame() -> None:
    octets = encode_frame(Frame(Address(16), Address(1, 17, 2), hdlc.UI, SNRM * 3 + bytes(40)))
    for cut in range(len(octets)):
        assert frames_of(octets[:cut]) == ()


def test_the_next_frame_is_found_after_a_damaged_one() -> None:
    damaged = bytearray(encode_frame(Frame(Address(16), Address(1, 17, 2), hdlc.UI, SNRM + bytes(20))))
    damaged[-5] ^= 1
    assert len(frames_of(bytes(damaged) + SNRM)) == 1


@given(st.binary(max_size=12).filter(lambda noise: b"\x7e" not in noise), st.binary(max_size=200))
def test_noise_without_flags_before_a_frame_is_passed_over(noise: bytes, information: bytes) -> None:
    frame = Frame(Address(16), Address(1, 300, 4), hdlc.information(3, 5), information)
    assert frames_of(noise + encode_frame(frame)) == (frame,)


@given(st.binary(max_size=300))
@settings(max_examples=3000)
def test_any_octets_scan_to_the_end(octets: bytes) -> None:
    for placed in hdlc.scan(b"\x7e" + octets):
        assert encode_frame(placed.frame)[1:-1] in octets
    assert 0 <= pending_from(octets) <= len(octets)


@given(st.lists(st.binary(max_size=30), max_size=6), st.randoms())
def test_a_stream_gives_the_same_frames_in_any_pieces(informations: list[bytes], rng) -> None:
    frames = [Frame(Address(16), Address(1, 17, 2), hdlc.UI, i) for i in informations]
    stream = b"".join(encode_frame(f) for f in frames)
    buffer, found = b"", []
    while stream:
        size = rng.randint(1, 20)
        buffer, stream = buffer + stream[:size], stream[size:]
        found += frames_of(buffer)
        buffer = buffer[pending_from(buffer) :]
    assert found == frames


@pytest.mark.parametrize(
    ("control", "kind"),
    [(0x10, Control.I), (0x93, Control.SNRM), (0x73, Control.UA), (0x53, Control.DISC), (0x1F, Control.DM),
     (0x97, Control.FRMR), (0x13, Control.UI), (0x03, Control.UI), (0x31, Control.RR), (0x35, Control.RNR),
     (0x39, Control.REJ)],
)  # fmt: skip
def test_control_octets_of_the_standard(control: int, kind: Control) -> None:
    assert hdlc.kind_of(control) is kind


@pytest.mark.parametrize("address", [Address(200), Address(1, 200, 2), Address(1, 1, 3), Address(1, 5, 1)])
def test_an_address_that_does_not_fit_is_our_misuse(address: Address) -> None:
    with pytest.raises(ValueError):
        address.octets()


def test_a_frame_that_is_too_long_is_our_misuse() -> None:
    with pytest.raises(ValueError):
        encode_frame(Frame(Address(16), Address(1), hdlc.UI, bytes(2040)))


def test_an_empty_ua_means_the_defaults() -> None:
    assert read_parameters(b"") == LinkParameters(128, 128, 1, 1)


def test_link_parameters_of_one_and_two_octets() -> None:
    octets = bytes.fromhex("8180 13 0501f8 060204 00 070400000001 080400000002".replace(" ", ""))
    assert read_parameters(octets) == LinkParameters(248, 1024, 1, 2)


@given(st.binary(max_size=60))
@settings(max_examples=2000)
def test_any_octets_as_link_parameters(octets: bytes) -> None:
    for candidate in (octets, b"\x81\x80" + octets):
        try:
            read_parameters(candidate)
        except MeterFault:
            continue
