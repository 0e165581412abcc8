"""Messages nobody asked for, among the octets of a line, and a limit to how many of them are taken.

* In a wrapper stream: PDUs whose tag can never be an answer (data-notification, event-notification plain or ciphered).
  In an HDLC stream: UI frames. Behind an LLC of IEC 61334-4-32: a whole message. Everything else stays where it is, in its order.
* `FloodGate` lets each source send so many messages a second (with as many in one burst) and counts what it turns away;
  it remembers a bounded number of sources, the longest unheard ones are forgotten first.

Sources: IEC 62056-47 (wrapper), IEC 62056-46 (UI frames), IEC 62056-5-3 (tags).
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.dlms import hdlc, wrapper
from gridtally_edge.protocols.dlms.hdlc import Control
from gridtally_shared.records import dataclass

PUSH_TAGS: Final = frozenset({0x0F, 0xC2, 0xCA, 0xD2})
LLC_CONTROL: Final = 0x90
LLC_OCTETS: Final = 3
MOST_SOURCES: Final = 2_000
LONGEST_PDU: Final = 1 << 16
_UI_OCTETS: Final = (b"\x13", b"\x03")


def take_unasked(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The messages nobody asked for, and the buffer without them."""
    if buffer[:2] == wrapper.VERSION:
        return _from_wrapper(buffer)
    if buffer[:1] == bytes([hdlc.FLAG]):
        return _from_hdlc(buffer) if any(octet in buffer for octet in _UI_OCTETS) else ([], buffer)
    if len(buffer) > LLC_OCTETS and buffer[2] == LLC_CONTROL:
        return ([buffer], b"") if buffer[LLC_OCTETS] in PUSH_TAGS else ([], buffer)
    return [], buffer


def whole_messages(buffer: bytes) -> tuple[list[bytes], bytes]:
    """All whole PDUs or frames of a stream nobody asks anything on, and what is still arriving. Octets that can not
    begin a message are dropped."""
    if buffer[:1] == bytes([hdlc.FLAG]):
        placed = list(hdlc.scan(buffer))
        return [buffer[p.start : p.end] for p in placed], buffer[hdlc.pending_from(buffer) :]
    found = wrapper.scan(buffer)
    rest = buffer[found[-1].end :] if found else buffer
    return [buffer[p.start : p.end] for p in found], rest if wrapper.VERSION.startswith(rest[:2]) else b""


def _from_wrapper(buffer: bytes) -> tuple[list[bytes], bytes]:
    messages, rest = [], b""
    start = 0
    while len(buffer) > start + wrapper.HEADER_OCTETS and buffer[start : start + 2] == wrapper.VERSION:
        end = start + wrapper.HEADER_OCTETS + int.from_bytes(buffer[start + 6 : start + 8], "big")
        if end > len(buffer):
            break
        if buffer[start + wrapper.HEADER_OCTETS] in PUSH_TAGS:
            messages.append(buffer[start:end])
        else:
            rest += buffer[start:end]
        start = end
    return messages, (rest + buffer[start:]) if messages else buffer


def _from_hdlc(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The closing flag of what is taken stays behind: it may be the next frame's opening one."""
    messages, rest = [], b""
    at = 0
    for placed in hdlc.scan(buffer):
        if placed.frame.kind is Control.UI:
            messages.append(buffer[placed.start : placed.end])
            rest += buffer[at : placed.start]
            at = placed.end - 1
    return messages, (rest + buffer[at:]) if messages else buffer


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


@dataclass(slots=True)
class FloodGate:
    """`may_pass` is a function of its arguments and what passed before."""

    per_s: int
    dropped: int = 0
    _buckets: dict[str, _Bucket] = field(default_factory=dict)

    def may_pass(self, source: str, now_s: float) -> bool:
        bucket = self._buckets.pop(source, None) or _Bucket(float(self.per_s), now_s)
        tokens = min(float(self.per_s), bucket.tokens + (now_s - bucket.at_s) * self.per_s)
        passes = tokens >= 1
        self._buckets[source] = _Bucket(tokens - 1 if passes else tokens, now_s)
        if len(self._buckets) > MOST_SOURCES:
            del self._buckets[next(iter(self._buckets))]
        self.dropped += not passes
        return passes
