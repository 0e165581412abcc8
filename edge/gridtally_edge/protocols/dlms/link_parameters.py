"""The information field of SNRM and UA: frame sizes and windows both sides can take (IEC 62056-46, 6.4.4.4.3)."""

from __future__ import annotations

from typing import Final

from gridtally_edge.protocols.dlms.octets import Reader, encode_string
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

_HEAD: Final = b"\x81\x80"
_SIZE_SENT, _SIZE_TAKEN, _WINDOW_SENT, _WINDOW_TAKEN = 5, 6, 7, 8


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """From the sender's view: largest information field it sends and takes, and its windows. The defaults are those
    of the standard, valid where a field or the whole negotiation is missing."""

    size_sent: int = 128
    size_taken: int = 128
    window_sent: int = 1
    window_taken: int = 1

    def octets(self) -> bytes:
        fields = ((_SIZE_SENT, self.size_sent, 2), (_SIZE_TAKEN, self.size_taken, 2),
                  (_WINDOW_SENT, self.window_sent, 4), (_WINDOW_TAKEN, self.window_taken, 4))  # fmt: skip
        body = b"".join(bytes([tag, size]) + value.to_bytes(size, "big") for tag, value, size in fields)
        return _HEAD + encode_string(body)


def read_parameters(octets: bytes) -> LinkParameters:
    """An empty field is legal and means the defaults. Raises MeterFault for anything that is no parameter list."""
    if not octets:
        return LinkParameters()
    reader = Reader(octets)
    if reader.take(2) != _HEAD:
        raise MeterFault("the link parameters start wrongly")
    inner = Reader(reader.string())
    found = {}
    while inner.left:
        tag, value = inner.octet(), int.from_bytes(inner.string(), "big")
        found[tag] = value
    return LinkParameters(
        _positive(found.get(_SIZE_SENT, 128)),
        _positive(found.get(_SIZE_TAKEN, 128)),
        _positive(found.get(_WINDOW_SENT, 1)),
        _positive(found.get(_WINDOW_TAKEN, 1)),
    )


def _positive(value: int) -> int:
    if not 0 < value <= 0xFFFF:
        raise MeterFault(f"{value} is no frame size or window")
    return value
