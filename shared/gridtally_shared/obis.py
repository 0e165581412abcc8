"""OBIS codes (IEC 62056-6-1): six numbers A.B.C.D.E.F that name a measured quantity."""

from __future__ import annotations

import re

from gridtally_shared.records import dataclass

_TEXT = re.compile(r"^(?:(\d+)-(\d+):)?(\d+)\.(\d+)\.(\d+)(?:[.*](\d+))?$|^(\d+)\.(\d+)\.(\d+)\.(\d+)\.(\d+)\.(\d+)$")


@dataclass(frozen=True, slots=True, order=True)
class Obis:
    """A code as six bytes. Written 1.0.1.8.0.255; `A-B:C.D.E*F` is read too."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) != 6:
            raise ValueError(f"an OBIS code has six bytes, not {len(self.value)}")

    @classmethod
    def of(cls, text: str) -> Obis:
        """Read `1.0.1.8.0.255` or `1-0:1.8.0*255` (F missing is 255). Raises ValueError."""
        match = _TEXT.match(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not an OBIS code: write it like 1.0.1.8.0.255")
        short, dotted = match.groups()[:6], match.groups()[6:]
        parts = dotted if dotted[0] is not None else (short[0] or "1", short[1] or "0", *short[2:5], short[5] or "255")
        numbers = [int(p) for p in parts]
        if any(n > 255 for n in numbers):
            raise ValueError(f"{text!r}: each group of an OBIS code is 0 to 255")
        return cls(bytes(numbers))

    def __str__(self) -> str:
        return ".".join(str(b) for b in self.value)
