"""Signed messages: only the right key, channel and bytes pass (ETSI: integrity at the end points)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.samples import SAMPLES
from gridtally_shared import cbor
from gridtally_shared.contract import codec
from gridtally_shared.errors import ContractError
from gridtally_shared.signing import KeySigner, sign1, verify1

SIGNER = KeySigner.from_seed(bytes(range(32)))
KEYS = {SIGNER.key_id: SIGNER.public}
PAYLOAD = codec.encode(SAMPLES["Instrument"])
ENVELOPE = sign1(SIGNER, "instrument", PAYLOAD)


def test_the_payload_comes_back() -> None:
    assert verify1(KEYS, "instrument", ENVELOPE) == PAYLOAD


def test_signatures_are_deterministic() -> None:
    assert sign1(SIGNER, "instrument", PAYLOAD) == ENVELOPE


@pytest.mark.covers_part("ETSI-NR10")
@given(position=st.integers(0, len(ENVELOPE) * 8 - 1))
def test_any_flipped_bit_is_refused(position: int) -> None:
    damaged = bytearray(ENVELOPE)
    damaged[position // 8] ^= 1 << position % 8
    with pytest.raises(ContractError):
        verify1(KEYS, "instrument", bytes(damaged))


def test_signed_for_one_channel_is_refused_on_another() -> None:
    with pytest.raises(ContractError, match="signed for 'instrument'"):
        verify1(KEYS, "command", ENVELOPE)


def test_an_unknown_key_is_refused() -> None:
    other = KeySigner.from_seed(bytes(32))
    with pytest.raises(ContractError, match="does not know"):
        verify1(KEYS, "instrument", sign1(other, "instrument", PAYLOAD))


def test_unknown_keys_inside_survive_verification() -> None:
    newer = cbor.dumps({**cbor.loads(codec.encode(SAMPLES["Instrument"])), 77: b"from contract 2"})
    assert verify1(KEYS, "instrument", sign1(SIGNER, "instrument", newer)) == newer
