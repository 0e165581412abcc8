"""Money as integers: reading, showing, rounding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.money import NANO, decimal_text, display, floor_to_minor, nano, round_half_even

amounts = st.integers(-(10**24), 10**24)


@given(amounts)
def test_text_and_back_is_exact(amount: int) -> None:
    assert nano(decimal_text(amount)) == amount


@pytest.mark.parametrize(("text", "amount"), [("12.50", 12_500_000_000), ("-0.000000001", -1), ("+3", 3 * NANO), (" 7 ", 7 * NANO)])
def test_amounts_are_read_exactly(text: str, amount: int) -> None:
    assert nano(text) == amount


@pytest.mark.parametrize("text", ["", "1,5", "1.0000000001", "1e3", "٣", "nan", "--1", "1.", ".5", 1.5, None])
def test_anything_else_is_not_an_amount(text: object) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        nano(text)  # type: ignore[arg-type]


@given(amounts, st.sampled_from(["EUR", "JPY", "XXX"]))
def test_a_shown_balance_never_exceeds_what_is_there(amount: int, currency: str) -> None:
    shown = floor_to_minor(amount, currency)
    assert shown <= amount
    assert amount - shown < (NANO if currency == "JPY" else NANO // 100)


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("0.005", "0"), ("0.015", "0.02"), ("0.005000001", "0.01"), ("-0.005", "0"), ("-0.015", "-0.02"), ("0.025", "0.02")],
)
def test_amounts_owed_round_half_even(amount: str, rounded: str) -> None:
    assert round_half_even(nano(amount), 2) == nano(rounded)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [("1234.567", "EUR", "€ 1,234.56"), ("-0.001", "INR", "−₹ 0.01"), ("5", "JPY", "JPY 5"), ("0", "USD", "$ 0.00")],
)
def test_display(amount: str, currency: str, text: str) -> None:
    assert display(nano(amount), currency) == text
