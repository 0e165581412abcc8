"""What every DLMS link offers to the layer above, and how long it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.records import dataclass

Unsolicited = Callable[[bytes], None]
"""Takes the PDU of what a meter sent unasked between request and answer."""


class LinkDropped(LinkDown):
    """The meter says that it knows no link of ours (DM, FRMR): connect again, then ask again."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one answer may take and how often the line asks again."""

    answer_ms: int = 1_500
    retries: int = 2


class Link(Protocol):
    """Carries whole PDUs to one meter and back.

    `repairs`: the link itself repeats what was lost and never delivers twice, so the layer above must not ask again.
    `needs_release`: nothing below ends the association, so it must be released with RLRQ.
    `streams`: several PDUs may be sent without waiting for an answer to each."""

    @property
    def repairs(self) -> bool: ...

    @property
    def needs_release(self) -> bool: ...

    @property
    def streams(self) -> bool: ...

    @property
    def timing(self) -> Timing: ...

    def connect(self) -> Conversation[None]: ...

    def request(self, *apdus: bytes) -> Conversation[bytes]:
        """Send PDUs, one after the other, and return the first PDU that answers."""

    def receive(self) -> Conversation[bytes]:
        """The next PDU the meter has for us without being asked again. Raises LinkDown when there is none."""

    def disconnect(self) -> Conversation[None]: ...


_PREFIXES: Final = {b"\xc4\x02": 9, b"\xc7\x02": 8, b"\xe0": 6}
"""Octets before the length of what fills the rest of a PDU: blocks of GET, of ACTION, and of any PDU."""

_TITLED: Final = (0xDB, 0xDC)


def announced_length(start: bytes) -> int | None:
    """How long the PDU is that starts so, where its first octets tell; None where they do not."""
    try:
        return _announced(Reader(start))
    except MeterFault:
        return None


def _announced(reader: Reader) -> int | None:
    tag = reader.octet()
    if tag in _TITLED:
        reader.string()
    elif not 0xC8 <= tag <= 0xD7:
        before = _PREFIXES.get(reader.data[:2]) or _PREFIXES.get(reader.data[:1])
        if before is None:
            return None
        reader.take(before - 1)
    length = reader.length()
    return reader.position + length
