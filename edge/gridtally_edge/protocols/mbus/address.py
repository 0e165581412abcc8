"""How a wired M-Bus meter is addressed: by a number on its bus, or by who it is.

* Primary: "1" to "250". 0 is a meter fresh from the factory, 254 whoever is there (only with one meter on the bus).
* Secondary: eight digits of identification, or sixteen digits as libmbus writes them: identification, maker, version and
  medium in hexadecimal digits. F stands for any digit, FF for any version or medium, FFFF for any maker.

Source: EN 13757-3:2018 clause 12 (selection); M-Bus documentation 4.8, chapter 7.
"""

from __future__ import annotations

from gridtally_edge.protocols.mbus.frames import MAX_PRIMARY, SELECTED, TEST_ADDRESS
from gridtally_edge.protocols.mbus.header import Identity
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

ID_DIGITS, LONG_DIGITS = 8, 16
ANY_BEHIND = "FFFFFFFF"
REMEDY = "write a primary address 0 to 250 (or 254), 8 digits of identification, or 16 digits with maker, version and medium"


@dataclass(frozen=True, slots=True)
class Address:
    """`selection` is the eight octets a meter is selected by, empty for a primary address."""

    link: int
    selection: bytes = b""

    @classmethod
    def of(cls, text: str) -> Address:
        """Raises ConfigError."""
        digits = text.strip().upper()
        if digits.isdecimal() and len(digits) <= 3 and (int(digits) <= MAX_PRIMARY or int(digits) == TEST_ADDRESS):
            return cls(int(digits))
        if len(digits) == ID_DIGITS:
            digits += ANY_BEHIND
        if len(digits) != LONG_DIGITS or not _is_selection(digits):
            raise ConfigError("address", text, REMEDY)
        return cls(SELECTED, selection_octets(digits))

    def __str__(self) -> str:
        return selection_text(self.selection) if self.selection else str(self.link)


def _is_selection(digits: str) -> bool:
    return all(digit in "0123456789ABCDEF" for digit in digits)


def selection_octets(digits: str) -> bytes:
    """Sixteen digits (identification, maker, version, medium) in the order of the wire."""
    octets = bytes.fromhex(digits)
    return octets[:4][::-1] + octets[4:6][::-1] + octets[6:]


def selection_text(octets: bytes) -> str:
    return (octets[:4][::-1] + octets[4:6][::-1] + octets[6:]).hex().upper()


def matches(selection: bytes, identity: Identity) -> bool:
    """Whether a meter of this identity is meant. Digits of F, and octets of FF behind them, mean any."""
    wanted, own = selection_text(selection), selection_text(identity.to_bytes())
    digits = all(w in ("F", o) for w, o in zip(wanted[:ID_DIGITS], own[:ID_DIGITS], strict=True))
    parts = ((8, 12), (12, 14), (14, 16))
    return digits and all(wanted[a:b] in ("F" * (b - a), own[a:b]) for a, b in parts)
