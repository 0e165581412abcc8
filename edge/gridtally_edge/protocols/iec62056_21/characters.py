"""Characters of IEC 62056-21: control codes, parity in software, block check character.

* A character has 7 data bits and even parity. A port that knows no parity (a pseudo terminal, a TCP converter set to 8N1)
  carries it in the highest bit: it is taken off here where it fits, and a character with wrong parity becomes NUL, which
  stands in no message.
* BCC is the XOR of everything behind STX or SOH up to and with ETX (or EOT).

Source: IEC 62056-21:2002 clauses 5 and 6.3, ISO/IEC 1155 and 1745.
"""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Final

SOH, STX, ETX, EOT, ACK, NAK, CR, LF = 0x01, 0x02, 0x03, 0x04, 0x06, 0x15, 0x0D, 0x0A
LINE_END: Final = b"\r\n"
LONGEST_BLOCK: Final = 262_144


def _seven(octet: int) -> int:
    if octet < 0x80:
        return octet
    return octet & 0x7F if octet.bit_count() % 2 == 0 else 0


_TABLE: Final = bytes(map(_seven, range(256)))


def seven_bits(octets: bytes) -> bytes:
    """As many characters as octets, parity checked where it is carried, and taken off."""
    return octets.translate(_TABLE)


def parity_holds(octets: bytes) -> bool:
    """Whether every character has even parity; true where the port has taken the parity off (no eighth bit is set)."""
    carried = any(octet & 0x80 for octet in octets)
    return not carried or not any(octet.bit_count() % 2 for octet in octets)


def with_parity(octets: bytes) -> bytes:
    """The octets as 7E1 puts them on the wire, for a port that knows no parity."""
    return bytes(octet | 0x80 if octet.bit_count() % 2 else octet for octet in octets)


def bcc(octets: bytes) -> int:
    """Over what stands behind STX or SOH, ETX included."""
    return reduce(xor, octets, 0)


def framed(body: bytes) -> bytes:
    """A block from its start character to BCC; `body` has its STX or SOH in front and no ETX."""
    block = body + bytes((ETX,))
    return block + bytes((bcc(block[1:]),))
