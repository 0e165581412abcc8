"""Tokens of other systems: 20 digits that a meter with a token gateway understands and we do not.

* They are handed on as they are. What they bring, whom they belong to and their check digits are the meter's business.
* What the meter says of a token (class 115: stage reached and a data value) is told as it says it.

Source: prepayment.md 1.5; IEC 62056-6-2 class 115.
"""

from __future__ import annotations

from enum import IntEnum

from gridtally_shared.contract.codec import key
from gridtally_shared.records import dataclass

DIGITS = 20
_GAPS = str.maketrans("", "", " -\t\r\n.")


class TokenStatus(IntEnum):
    """How far a token came in the meter. Numbers of the standard."""

    FORMAT_OK = 0
    AUTHENTICATION_OK = 1
    VALIDATION_OK = 2
    EXECUTION_OK = 3
    FORMAT_FAILED = 4
    AUTHENTICATION_FAILED = 5
    VALIDATION_FAILED = 6
    EXECUTION_FAILED = 7
    RECEIVED = 8


TAKEN = TokenStatus.EXECUTION_OK
REFUSED = frozenset(range(TokenStatus.FORMAT_FAILED, TokenStatus.RECEIVED))


def is_final(status: int) -> bool:
    """The meter will say nothing else of this token."""
    return status == TAKEN or status in REFUSED


def token_digits(text: str) -> str | None:
    """The digits of what somebody typed, gaps left out; None when these are not 20 digits."""
    digits = text.translate(_GAPS)
    return digits if len(digits) == DIGITS and digits.isascii() and digits.isdigit() else None


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """`detail` of a TOKEN command."""

    digits: str = key(0)


@dataclass(frozen=True, slots=True)
class TokenOutcome:
    """What the meter says of a token: its status, its data value as bits ("0110", "" for none), when it was entered by the
    meter's clock (0: not told)."""

    status: int = key(0)
    data: str = key(1, "")
    entered_ms: int = key(2, 0)
