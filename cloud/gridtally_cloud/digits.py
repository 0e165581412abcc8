"""Whole numbers that people and programs write: what counts as one, decided once for pages, the API and files."""

from __future__ import annotations

LARGEST = (1 << 63) - 1
"""The largest number the store holds."""


def whole(text: str, most: int = LARGEST) -> int | None:
    """A number in the digits 0 to 9 from 0 to `most`; None for all else, such as ² and ३, which are digits to Python, and for one that is
    too long, whatever it begins with."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(most)) or int(digits) > most:
        return None
    return int(digits)
