"""The 24-digit code: exact amounts, no typo that passes, golden digits, a seal over the whole context."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridtally_shared.instruments.keypad_code import (
    GSEQ_SPAN,
    LARGEST_EXPONENT,
    LARGEST_MANTISSA,
    CodeContext,
    CodeType,
    KeypadCode,
    Unreadable,
    amount_of,
    amount_value,
    code_text,
    is_sealed,
    read_code,
)  # fmt: skip
from gridtally_shared.money import nano

GOLDEN = json.loads((Path(__file__).parents[3] / "vectors" / "keypad_codes.json").read_text())
KEY = bytes(range(32))
CONTEXT = CodeContext("dcu-1", 101, 1, "INR")
CODES = st.builds(
    code_text, st.binary(min_size=32, max_size=32), st.just(CONTEXT), st.integers(1, 5_000), st.sampled_from(CodeType),
    st.integers(0, 2**20 - 1),
)  # fmt: skip


def digits_of(text: str) -> str:
    return text.replace(" ", "")


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["about"])
def test_golden_codes(row: dict) -> None:
    context = CodeContext(row["dcu"], row["account_no"], row["epoch"], row["currency"])
    kind, key = CodeType[row["type"]], bytes.fromhex(row["key"])
    assert code_text(key, context, row["gseq"], kind, row["value"]) == row["code"]
    read = read_code(row["code"])
    assert isinstance(read, KeypadCode)
    assert is_sealed(key, context, row["gseq"], read)
    assert (read.type, read.gseq_low, read.value) == (kind, row["gseq"] % GSEQ_SPAN, row["value"])
    if row["type"] == "CREDIT":
        assert amount_of(row["value"], row["currency"]) == nano(row["amount"])


@settings(max_examples=40, deadline=None)
@given(CODES)
def test_no_wrong_digit_and_no_exchange_of_neighbours_is_a_code(text: str) -> None:
    right = digits_of(text)
    wrong = {right[:i] + d + right[i + 1 :] for i in range(24) for d in "0123456789"}
    wrong |= {right[:i] + right[i + 1] + right[i] + right[i + 2 :] for i in range(23)}
    assert [w for w in wrong - {right} if isinstance(read_code(w), KeypadCode)] == []


@given(CODES)
def test_it_may_be_typed_with_dashes_or_without_gaps(text: str) -> None:
    assert isinstance(read_code(text), KeypadCode)
    assert read_code(digits_of(text)) == read_code(text.replace(" ", "-")) == read_code(f"  {text}\t") == read_code(text)


@pytest.mark.parametrize("text", ["", "1234", "1" * 20, "1" * 25, "12345678901234567890123a", "٣" * 24, "²" * 24, "9" * 24])
def test_what_has_another_length_or_other_characters_is_no_code(text: str) -> None:
    assert isinstance(read_code(text), Unreadable)


@settings(max_examples=60)
@given(CODES, st.integers(1, 5_000))
def test_another_context_another_number_or_another_key_breaks_the_seal(text: str, number: int) -> None:
    code = read_code(code_text(KEY, CONTEXT, number, CodeType.CREDIT, 1_000))
    assert isinstance(code, KeypadCode)
    assert is_sealed(KEY, CONTEXT, number, code)
    others = (replace(CONTEXT, dcu="dcu-2"), replace(CONTEXT, account_no=102), replace(CONTEXT, epoch=2), replace(CONTEXT, currency="EUR"))
    assert not any(is_sealed(KEY, other, number, code) for other in others)
    assert not is_sealed(KEY, CONTEXT, number + GSEQ_SPAN, code)
    assert not is_sealed(KEY[::-1], CONTEXT, number, code)
    assert not any(is_sealed(KEY, CONTEXT, number, replace(code, mac=code.mac ^ 1 << bit)) for bit in range(39))


@given(st.integers(1, LARGEST_MANTISSA), st.integers(0, LARGEST_EXPONENT), st.sampled_from(["INR", "EUR", "JPY"]))
def test_an_amount_comes_back_exactly(coins: int, exponent: int, currency: str) -> None:
    amount = coins * 10**exponent * (10**9 if currency == "JPY" else 10**7)
    value = amount_value(amount, currency)
    assert value is not None
    assert amount_of(value, currency) == amount


@pytest.mark.parametrize("amount", [0, -(10**9), 1, nano("0.001"), nano("1310.721"), nano("13107.19"), LARGEST_MANTISSA * 10**8 * 10**7])
def test_an_amount_that_is_not_exact_has_no_code(amount: int) -> None:
    assert amount_value(amount, "INR") is None


@given(st.integers(0, 2**20 - 1))
def test_every_amount_has_one_spelling_only(value: int) -> None:
    amount = amount_of(value, "INR")
    assert amount is None or amount_value(amount, "INR") == value
