"""What codes carry comes back as it was, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import Instrument, InstrumentType
from gridtally_shared.instruments import details as d
from gridtally_shared.instruments.code_content import FIRST_DAY_MS, instrument_of, same_order, value_of
from gridtally_shared.instruments.forms import fault_of
from gridtally_shared.instruments.keypad_code import CodeContext, CodeType, KeypadCode

CONTEXT = CodeContext("dcu-1", 101, 1, "INR")
T = InstrumentType
UNTIL = st.one_of(st.just(0), st.integers(1, 16_383).map(lambda n: FIRST_DAY_MS + n * MS_PER_DAY))
ORDERS = st.one_of(
    st.builds(d.HoldOrder, st.sampled_from(d.REASONS[2:]), st.booleans()),
    st.builds(d.ProtectOrder, st.sampled_from(d.REASONS), st.booleans(), UNTIL),
    st.builds(d.ModeOrder, st.sampled_from((0, 1))),
)
KINDS = {d.HoldOrder: T.HOLD, d.ProtectOrder: T.PROTECT, d.ModeOrder: T.MODE_SET}


def made(detail: object) -> Instrument:
    return Instrument(1, "dcu-1", 101, 1, 7, KINDS[type(detail)], 0, "INR", b"r" * 16, 5, bytes(32), encode(detail))


@given(ORDERS)
def test_a_hold_a_protection_and_a_mode_come_back(detail: object) -> None:
    signed = made(detail)
    content = value_of(signed)
    assert content is not None
    back = instrument_of(KeypadCode(content[0], 7, content[1], 0), CONTEXT, 7)
    assert back is not None
    assert same_order(back, signed)


@given(st.sampled_from(CodeType), st.integers(0, 2**20 - 1))
def test_a_value_is_one_sound_instrument_that_gives_it_back_or_nothing(kind: CodeType, value: int) -> None:
    back = instrument_of(KeypadCode(kind, 7, value, 0), CONTEXT, 7)
    assert back is None or (fault_of(back) == "" and value_of(back) == (kind, value))


@pytest.mark.parametrize("until_ms", [FIRST_DAY_MS, FIRST_DAY_MS + 1, FIRST_DAY_MS + 16_384 * MS_PER_DAY])
def test_an_end_that_is_no_end_of_a_day_has_no_code(until_ms: int) -> None:
    assert value_of(made(d.ProtectOrder("medical", True, until_ms))) is None
