"""Short messages and plain displays: how many parts a text takes, and what a display of few letters can show of it.

* A text of the plain alphabet has 160 characters, or 153 in each of several parts; with Devanagari or letters such as "á" it has
  70, or 67 in each (3GPP TS 23.038). The plain alphabet knows é and ñ and the Spanish ¿ and ¡, not á, í, ó, ú.
* `ascii_text` is for meters: accents fall, signs of currency become letters; Devanagari has no fallback, so such a reader is given
  the English text.

Source: prepayment.md 6.3.
"""

from __future__ import annotations

import unicodedata

PLAIN = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
TWICE = frozenset("^{}\\[~]|€")
SIGNS = {"₹": "INR", "€": "EUR", "–": "-", "—": "-", "\u00a0": " ", "\u202f": " ", "’": "'", "¿": "", "¡": "", "±": "+-"}


def sms_parts(text: str) -> int:
    """In how many short messages a text travels."""
    plain = all(c in PLAIN or c in TWICE for c in text)
    length = sum(2 if c in TWICE else 1 for c in text) if plain else len(text.encode("utf-16-be")) // 2
    whole, each = (160, 153) if plain else (70, 67)
    return 1 if length <= whole else -(-length // each)


def ascii_text(text: str, otherwise: str = "") -> str:
    """The text in ASCII; `otherwise` where its letters have none."""
    signed = "".join(SIGNS.get(c, c) for c in text)
    bare = "".join(c for c in unicodedata.normalize("NFD", signed) if not unicodedata.combining(c) or c > "\u0900")
    if bare.isascii():
        return bare
    return ascii_text(otherwise) if otherwise else "".join(c if c.isascii() else "?" for c in bare)
