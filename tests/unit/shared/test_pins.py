"""PIN hashes of the balance page."""

from __future__ import annotations

import pytest

from gridtally_shared.pins import hash_pin, pin_matches


def test_a_pin_matches_its_own_hash_and_no_other() -> None:
    stored = hash_pin("4711")
    assert pin_matches("4711", stored)
    assert not pin_matches("4712", stored)
    assert hash_pin("4711") != stored


@pytest.mark.parametrize("stored", ["", "4711", "scrypt$x$8$1$00$00", "scrypt$16384$8$1$zz$00", "md5$1$1$1$0$0", "scrypt$9$8$1$00$00"])
def test_a_malformed_hash_opens_nothing(stored: str) -> None:
    assert not pin_matches("4711", stored)


@pytest.mark.parametrize("pin", ["", "9" * 65])
def test_an_empty_or_overlong_pin_is_refused(pin: str) -> None:
    assert not pin_matches(pin, hash_pin("4711"))
    with pytest.raises(ValueError, match="characters"):
        hash_pin(pin)
