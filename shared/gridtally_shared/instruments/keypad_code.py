"""The keypad code: one instrument as 24 digits that a person types in, where no other carrier reaches the concentrator.

    code = 2 check digits + 22 digits of a 73-bit number: version 2, type 2, gseq 10, value 20, MAC 39

* The check digits make the whole number 1 modulo 97: every wrong digit and every exchange of neighbours is found before
  a guess is counted.
* The MAC covers the full context (concentrator, account, epoch, currency, whole gseq, type, value) under the account's own
  key. Its first 39 bits travel.
* An amount is a mantissa of 17 bits times ten to a 3-bit exponent, in the currency's smallest coin: exact or not at all.
* 24 digits in six groups: never mistaken for a 20-digit token.

Source: prepayment.md 5.2; I28.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum, IntEnum

from gridtally_shared import cbor
from gridtally_shared.money import minor_digits
from gridtally_shared.records import dataclass

DIGITS, GROUP = 24, 4
VERSION = 0
GSEQ_BITS, VALUE_BITS, MAC_BITS = 10, 20, 39
GSEQ_SPAN = 1 << GSEQ_BITS
MANTISSA_BITS, LARGEST_EXPONENT = 17, 7
LARGEST_MANTISSA = (1 << MANTISSA_BITS) - 1
MODULUS = 97
KEY_BYTES = 32
PASSED_OVER = " -.\t"


class CodeType(IntEnum):
    """What a code may carry. Numbers are on paper in people's hands: they are never changed."""

    CREDIT = 0
    HOLD = 1
    PROTECT = 2
    MODE = 3


class Unreadable(Enum):
    """Why a typed text is no code. Neither counts as a guess."""

    FORMAT = "format"
    CHECK_DIGIT = "check_digit"


@dataclass(frozen=True, slots=True)
class CodeContext:
    """What both sides know and the code need not carry."""

    dcu: str
    account_no: int
    epoch: int
    currency: str


@dataclass(frozen=True, slots=True)
class KeypadCode:
    """A code taken apart. `gseq_low` is the number's last ten bits."""

    type: CodeType
    gseq_low: int
    value: int
    mac: int


def code_text(secret: bytes, context: CodeContext, gseq: int, kind: CodeType, value: int) -> str:
    """The 24 digits in six groups. Raises ValueError for a value that does not fit."""
    if not 0 <= value < 1 << VALUE_BITS or gseq < 1 or len(secret) != KEY_BYTES:
        raise ValueError(f"value {value}, number {gseq} or the key do not fit a code")
    number = (VERSION << 2 | kind) << GSEQ_BITS | gseq % GSEQ_SPAN
    number = (number << VALUE_BITS | value) << MAC_BITS | mac_of(secret, context, gseq, kind, value)
    return grouped(f"{check_digits(number):02d}{number:022d}")


def read_code(text: str) -> KeypadCode | Unreadable:
    """Take a typed text apart; spaces and dashes are passed over."""
    digits = "".join(c for c in text if c not in PASSED_OVER)
    if len(digits) != DIGITS or not (digits.isascii() and digits.isdigit()):
        return Unreadable.FORMAT
    check, number = int(digits[:2]), int(digits[2:])
    if (check * 10**22 + number) % MODULUS != 1:
        return Unreadable.CHECK_DIGIT
    fields = number >> MAC_BITS
    version, kind = fields >> VALUE_BITS + GSEQ_BITS + 2, fields >> VALUE_BITS + GSEQ_BITS & 3
    if version != VERSION or not 2 <= check <= 98:
        return Unreadable.FORMAT
    return KeypadCode(CodeType(kind), fields >> VALUE_BITS & GSEQ_SPAN - 1, fields & (1 << VALUE_BITS) - 1, number & (1 << MAC_BITS) - 1)


def mac_of(secret: bytes, context: CodeContext, gseq: int, kind: int, value: int) -> int:
    """The 39 bits that seal a code."""
    c = context
    sealed = cbor.dumps(["gridtally keypad code", c.dcu, c.account_no, c.epoch, c.currency, gseq, int(kind), value])
    return int.from_bytes(hmac.digest(secret, sealed, "sha256")[:8], "big") >> 64 - MAC_BITS


def is_sealed(secret: bytes, context: CodeContext, gseq: int, code: KeypadCode) -> bool:
    """Whether the code was made with this key for this number in this context."""
    if gseq < 1 or gseq % GSEQ_SPAN != code.gseq_low or len(secret) != KEY_BYTES:
        return False
    expected = mac_of(secret, context, gseq, code.type, code.value)
    return hmac.compare_digest(expected.to_bytes(8, "big"), code.mac.to_bytes(8, "big"))


def check_digits(number: int) -> int:
    """Two digits before the 22 that make the whole 1 modulo 97: 2 to 98."""
    shift = 10**22 % MODULUS
    check = (1 - number) * pow(shift, -1, MODULUS) % MODULUS
    return check if check >= 2 else check + MODULUS


def grouped(digits: str) -> str:
    return " ".join(digits[i : i + GROUP] for i in range(0, len(digits), GROUP))


# ---- amounts ------------------------------------------------------------------------------------------------


def amount_value(amount_nano: int, currency: str) -> int | None:
    """The 20 bits of an amount; None where it is not exact in them."""
    coins, rest = divmod(amount_nano, _coin_nano(currency))
    if rest or coins < 1:
        return None
    exponent = 0
    while coins > LARGEST_MANTISSA:
        coins, rest = divmod(coins, 10)
        exponent += 1
        if rest or exponent > LARGEST_EXPONENT:
            return None
    return exponent << MANTISSA_BITS | coins


def amount_of(value: int, currency: str) -> int | None:
    """The amount in nano; None for a value no `amount_value` would give."""
    coins, exponent = value & LARGEST_MANTISSA, value >> MANTISSA_BITS
    amount_nano: int = coins * 10**exponent * _coin_nano(currency)
    return amount_nano if amount_value(amount_nano, currency) == value else None


def _coin_nano(currency: str) -> int:
    coin: int = 10 ** (9 - minor_digits(currency))
    return coin


def new_key(seed: bytes) -> bytes:
    """A key of the right length from fresh random bytes."""
    return hashlib.sha256(b"gridtally keypad key" + seed).digest()
