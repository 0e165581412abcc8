"""`gridtally decode` says what an envelope of the contract holds, and keeps quiet about anything else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contract.samples import AT, SAMPLES, UUID
from gridtally_shared.contract import codec
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.explain import explain_envelope
from gridtally_shared.explain import Keys
from gridtally_shared.signing import KeySigner, sign1

SIGNER = KeySigner.from_seed(bytes(range(32)))


def test_a_signed_instrument_in_words() -> None:
    envelope = sign1(SIGNER, "instrument", codec.encode(SAMPLES["Instrument"]))
    said = explain_envelope(envelope, Keys())
    assert said is not None
    assert said.proved
    assert "Instrument for channel 'instrument'" in said.title
    assert "amount_nano: 12500000000 (12.5)" in said.lines
    assert "type: 1 (credit)" in said.lines


def test_a_batch_opens_its_entries() -> None:
    event = m.Entry(42, m.EntryKind.EVENT, codec.encode(SAMPLES["Event"]))
    said = explain_envelope(codec.encode(m.Batch(UUID, m.Lane.URGENT, (event,), AT)), Keys())
    assert said is not None
    assert said.title == "gridtally message: Batch"
    assert any("code: 301 (Supply disconnected)" in line for line in said.lines)
    assert any("2026-11-22" in line for line in said.lines)


@given(st.binary(max_size=80))
def test_any_octets_are_explained_or_left_alone(junk: bytes) -> None:
    explain_envelope(junk, Keys())
