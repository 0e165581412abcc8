"""Finds the requests for one Modbus unit in what a line carries, as a slave's own framer does.

* Hears everything; only a valid CRC, the own unit and a function this slave looks for make a request.
* A request is found again after noise, half a request or other meters' answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from gridtally_edge.protocols.modbus import EXCEPTION_BIT, crc_holds, with_crc
from gridtally_shared.records import dataclass

FIXED_BYTES = 8
FIXED = frozenset({1, 2, 3, 4, 5, 6})
WRITES_MANY = frozenset({15, 16})
LONGEST = 256


@dataclass(slots=True)
class RtuEar:
    """`unit` 1..247."""

    unit: int
    _heard: bytes = b""

    def requests(self, data: bytes) -> Iterator[bytes]:
        """Whole requests, with their CRC."""
        self._heard += data
        start = self._heard.find(self.unit)
        while start >= 0:
            length = self._length(start)
            if length and start + length > len(self._heard):
                break
            if length and crc_holds(self._heard[start : start + length]):
                yield self._heard[start : start + length]
                start += length - 1
                self._heard, start = self._heard[start + 1 :], -1
            start = self._heard.find(self.unit, start + 1)
        self._heard = self._heard[start:][-LONGEST:] if start >= 0 else b""

    def _length(self, start: int) -> int:
        """Octets of a request that begins here; 0 when none does."""
        rest = self._heard[start : start + 7]
        if len(rest) < 2 or rest[1] in FIXED:
            return FIXED_BYTES
        if rest[1] in WRITES_MANY:
            return 9 + rest[6] if len(rest) == 7 else 9
        return 0


def answer_of(unit: int, body: bytes) -> bytes:
    """`body` begins with the function."""
    return with_crc(bytes((unit,)) + body)


def exception_of(unit: int, function: int, code: int) -> bytes:
    return with_crc(bytes((unit, function | EXCEPTION_BIT, code)))
