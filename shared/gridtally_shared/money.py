"""Money as integers of 10^-9 currency units ("nano"). No float and no Decimal ever touches a posting.

Rounding happens in two named places only: `floor_to_minor` for a balance a consumer sees (never shows more than
there is) and `round_half_even` for an amount owed on a statement.
"""

from __future__ import annotations

import re
from typing import Final

NANO: Final = 1_000_000_000
MINOR_DIGITS: Final[dict[str, int]] = {"EUR": 2, "INR": 2, "USD": 2, "JPY": 0, "KES": 2}
SYMBOLS: Final[dict[str, str]] = {"EUR": "€", "INR": "₹", "USD": "$"}
_DECIMAL = re.compile(r"^([+-]?)([0-9]+)(?:\.([0-9]{1,9}))?$")

MAX_NANO: Final = 2**63 - 1


def nano(text: str) -> int:
    """Read a decimal string such as "12.50" exactly. Raises ValueError for anything else, a float included."""
    match = _DECIMAL.match(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not an amount: write digits with at most nine decimals, such as 12.50")
    sign, whole, fraction = match.groups()
    value = int(whole) * NANO + int((fraction or "").ljust(9, "0") or 0)
    return -value if sign == "-" else value


def minor_digits(currency: str) -> int:
    """How many decimals the currency prints (ISO 4217); two where we have no entry."""
    return MINOR_DIGITS.get(currency, 2)


def floor_to_minor(amount_nano: int, currency: str) -> int:
    """Round down to the currency's smallest coin: what a consumer may be shown as balance."""
    step: int = 10 ** (9 - minor_digits(currency))
    return amount_nano // step * step


def round_half_even(amount_nano: int, digits: int) -> int:
    """Round to `digits` decimals, ties to even: amounts on statements."""
    step: int = 10 ** (9 - digits)
    quotient, rest = divmod(amount_nano, step)
    if rest * 2 > step or (rest * 2 == step and quotient % 2):
        quotient += 1
    return quotient * step


def decimal_text(amount_nano: int) -> str:
    """Exact decimal string for JSON and CSV: "-0.000000001", "12.5", "3"."""
    sign = "-" if amount_nano < 0 else ""
    whole, fraction = divmod(abs(amount_nano), NANO)
    tail = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{tail}" if tail else f"{sign}{whole}"


def display(amount_nano: int, currency: str) -> str:
    """A balance for people, rounded down to the coin: "€ 12.34"."""
    digits = minor_digits(currency)
    shown = floor_to_minor(amount_nano, currency)
    sign = "−" if shown < 0 else ""
    whole, fraction = divmod(abs(shown), NANO)
    tail = f".{fraction // 10 ** (9 - digits):0{digits}d}" if digits else ""
    return f"{sign}{SYMBOLS.get(currency, currency)} {whole:,}{tail}"
