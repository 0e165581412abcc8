"""What a person types as an amount, and the amounts offered to tap. Pure.

Accepted: 20, 20.5, 20,50, 1 000, 1,000.00 and २०; nothing that could mean two things.
"""

from __future__ import annotations

import re

from gridtally_shared.money import minor_digits, nano
from gridtally_shared.records import dataclass

QUICK: dict[str, tuple[str, ...]] = {
    "EUR": ("5", "10", "20", "50"),
    "USD": ("5", "10", "20", "50"),
    "INR": ("100", "200", "500", "1000"),
    "KES": ("50", "100", "500", "1000"),
}
_PLAIN = re.compile(r"^[0-9]{1,9}([.,][0-9]{1,3})?$")
_GROUPED = re.compile(r"^[0-9]{1,3}([ ,.'])[0-9]{3}(\1[0-9]{3})*((?!\1)[.,][0-9]{1,2})?$")
_DEVANAGARI = str.maketrans("०१२३४५६७८९", "0123456789")


@dataclass(frozen=True, slots=True)
class Typed:
    """`problem`: '' or the key of a sentence: missing, unreadable, decimals."""

    text: str
    choice: str
    amount_nano: int | None
    problem: str


def quick_choices(currency: str) -> tuple[str, ...]:
    return QUICK.get(currency, ("5", "10", "20", "50"))


def typed_amount(choice: str, text: str, currency: str) -> Typed:
    """One of the offered amounts, or what was typed beside them."""
    if choice in quick_choices(currency) and not text.strip():
        return Typed("", choice, nano(choice), "")
    text = text.strip()
    if not text:
        return Typed("", choice, None, "missing")
    plain = _plain(text)
    if plain is None:
        return Typed(text, "other", None, "unreadable")
    digits = len(plain.partition(".")[2])
    if digits > minor_digits(currency):
        return Typed(text, "other", None, "decimals")
    return Typed(text, "other", nano(plain), "")


def _plain(text: str) -> str | None:
    """The amount with a point and no groups; None where it can not be read in one way only."""
    text = text.replace("\u00a0", " ").translate(_DEVANAGARI)
    if _PLAIN.match(text):
        return None if _ambiguous(text) else text.replace(",", ".")
    if not _GROUPED.match(text):
        return None
    whole, mark, fraction = _split(text)
    return re.sub(r"\D", "", whole) + ("." + fraction if mark else "")


def _ambiguous(text: str) -> bool:
    """"1,234" or "1.234" may mean a thousand or one and a bit."""
    return re.fullmatch(r"\d{1,3}[.,]\d{3}", text) is not None


def _split(text: str) -> tuple[str, str, str]:
    tail = re.search(r"([.,])([0-9]{1,2})$", text)
    return (text[: tail.start()], tail[1], tail[2]) if tail else (text, "", "")
