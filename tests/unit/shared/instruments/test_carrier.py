"""The instrument file: whole or not at all, in any order of its lines, and what is wrong with it in words."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.errors import ContractError
from gridtally_shared.instruments.carrier import InstrumentBatch, base45, batch_text, read_batch, unbase45
from gridtally_shared.signing import KeySigner

SIGNER, OTHER = KeySigner.from_seed(b"f" * 32), KeySigner.from_seed(b"o" * 32)
KEYS = {SIGNER.key_id: SIGNER.public}
BATCH = InstrumentBatch(1, "dcu-1", 1_772_430_000_000, tuple(bytes([n]) * 250 for n in range(12)))
LINES = batch_text(SIGNER, BATCH).splitlines()


@given(st.binary(max_size=300))
def test_base45_comes_back(data: bytes) -> None:
    assert unbase45(base45(data)) == data


@pytest.mark.parametrize(("plain", "coded"), [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"ietf!", "QED8WEX0")])
def test_base45_as_the_rfc_has_it(plain: bytes, coded: str) -> None:
    assert (base45(plain), unbase45(coded)) == (coded, plain)


def test_lines_come_in_any_order_twice_and_with_remarks() -> None:
    lines = ["# from the supplier", "", *LINES, *LINES[:2]]
    Random(1).shuffle(lines)
    assert read_batch(KEYS, "\r\n".join(lines)) == BATCH


def test_every_line_fits_a_qr_code_in_its_alphanumeric_mode() -> None:
    assert len(LINES) == 3
    assert max(map(len, LINES)) <= 2_000
    assert set("".join(LINES)) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")


BROKEN = [
    ("nothing", "", "no instrument in this file"),
    ("another text", "Dear customer", "line 1 is no part"),
    ("a part is missing", "\n".join(LINES[:1] + LINES[2:]), "part 2 of 3 is missing"),
    ("two files mixed", "\n".join([*LINES, batch_text(OTHER, BATCH).splitlines()[0]]), "several files are mixed"),
    ("a wrong sign", "\n".join([LINES[0].replace(":", ":~", 1), *LINES[1:]]), "line 1 is spoilt"),
    ("a changed letter", "\n".join([LINES[0][:-3] + ("000" if LINES[0][-3:] != "000" else "111"), *LINES[1:]]), "the file is spoilt"),
    ("somebody else's signature", batch_text(OTHER, BATCH), "a key this side does not know"),
]


@pytest.mark.parametrize(("text", "said"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_what_is_broken_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        read_batch(KEYS, text)
