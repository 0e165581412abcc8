"""Suite 0 against the worked examples of IEC 62056-5-3 and against damage."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gridtally_edge.protocols.dlms.ciphering import CipherKeys, Sealed, seal, unseal
from gridtally_shared.errors import MeterFault
from support.data import data_path


def vectors() -> dict[str, dict]:
    return json.loads(data_path("dlms/security_vectors.json").read_text())


def suite0() -> tuple[CipherKeys, bytes, int, bytes, dict]:
    v = vectors()["suite0"]
    keys = CipherKeys(bytes.fromhex(v["encryption_key"]), bytes.fromhex(v["authentication_key"]))
    return keys, bytes.fromhex(v["system_title"]), int(v["invocation_counter"], 16), bytes.fromhex(v["plaintext"]), v


def test_authenticated_encryption_of_the_standard() -> None:
    keys, title, counter, plaintext, v = suite0()
    sealed = seal(keys, title, counter, 0x30, plaintext)
    assert sealed.content.hex() == v["security_control_30"]["ciphertext_and_tag"]
    opened = unseal(keys, title, sealed)
    assert (opened.plaintext, opened.verified) == (plaintext, True)


def test_authentication_only_of_the_standard() -> None:
    keys, title, counter, plaintext, v = suite0()
    sealed = seal(keys, title, counter, 0x10, plaintext)
    assert sealed.content == plaintext + bytes.fromhex(v["security_control_10_tag"])
    assert unseal(keys, title, sealed).plaintext == plaintext


def test_the_gmac_challenge_answer_of_the_standard() -> None:
    v = vectors()
    keys, _, _, _, _ = suite0()
    hls = v["hls5_gmac"]
    challenge = bytes.fromhex(hls["stoc"])
    sealed = seal(keys, bytes.fromhex(hls["client_title"]), int(hls["client_ic"], 16), 0x10, challenge)
    assert replace(sealed, content=sealed.content[len(challenge) :]).octets().hex() == hls["f_stoc"]


def test_encryption_only_is_read_and_not_verified() -> None:
    keys, title, counter, plaintext, _ = suite0()
    opened = unseal(keys, title, seal(keys, title, counter, 0x20, plaintext))
    assert (opened.plaintext, opened.verified) == (plaintext, False)


def test_without_the_authentication_key_it_is_read_and_not_verified() -> None:
    keys, title, counter, plaintext, _ = suite0()
    opened = unseal(CipherKeys(keys.encryption), title, seal(keys, title, counter, 0x30, plaintext))
    assert (opened.plaintext, opened.verified) == (plaintext, False)


@pytest.mark.parametrize("security", [0x10, 0x30])
def test_any_flipped_bit_is_refused(security: int) -> None:
    keys, title, counter, plaintext, _ = suite0()
    octets = seal(keys, title, counter, security, plaintext).octets()
    for bit in range(8, len(octets) * 8):
        damaged = bytearray(octets)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MeterFault):
            unseal(keys, title, Sealed.from_octets(bytes(damaged)))


@pytest.mark.parametrize("sealed", [Sealed(0xB0, 1, bytes(30)), Sealed(0x30, 1, bytes(11))])
def test_compressed_and_short_content_is_refused(sealed: Sealed) -> None:
    keys, title, _, _, _ = suite0()
    with pytest.raises(MeterFault):
        unseal(keys, title, sealed)


def test_a_wrong_title_or_key_length_is_said() -> None:
    keys, _, _, _, _ = suite0()
    with pytest.raises(MeterFault, match="8 octets"):
        unseal(keys, b"short", Sealed(0x30, 1, bytes(30)))
    with pytest.raises(ValueError, match="16 or 32"):
        CipherKeys(b"short")


def test_keys_do_not_show() -> None:
    keys, *_ = suite0()
    assert "0102" not in repr(keys)
