"""A share of the fuzz campaign (`make fuzz`) in every run of the suite: 20,000 inputs for each decoder."""

from __future__ import annotations

import pytest

from fuzz.attack import Target, attack, spoilt, targets

SHARE = 20_000


@pytest.mark.parametrize("target", targets(), ids=lambda t: t.name)
def test_any_bytes_end_in_a_value_or_one_clean_error(target: Target) -> None:
    assert not [str(finding) for finding in attack(target, SHARE)]


def test_an_input_is_the_same_each_time_and_a_leak_or_a_hang_is_found() -> None:
    def leaks(data: bytes) -> object:
        return data[7]

    def hangs(data: bytes) -> object:
        while data.startswith(b"ab"):
            pass
        return None

    leaky, stuck = Target("x.leaks", leaks, (b"0123456789",)), Target("x.hangs", hangs, (b"abc",))
    assert spoilt(leaky, 5) == spoilt(leaky, 5)
    assert "IndexError" in str(attack(leaky, 500)[0])
    assert "still at it" in attack(stuck, 1)[0].what
