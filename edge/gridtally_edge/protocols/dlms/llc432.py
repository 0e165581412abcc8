"""DLMS on PRIME: the LLC of IEC 61334-4-32, destination LSAP, source LSAP, control 90 (UI, DL-Data), then the PDU.

* There is no length and no check: the convergence layer delivers whole messages, cuts and joins them.
* Nothing is repeated here, as over UDP (see wrapper_link.py): the layer above knows what may be asked twice.

Source: protocols.md section 5 (meter LSAP from 1, client LSAP 1 or 2).
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found
from gridtally_edge.protocols.dlms.timing import Timing
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

CONTROL: Final = 0x90
HEADER_OCTETS: Final = 3
_UNASKED: Final = (b"\x0f", b"\xc2", b"\xca", b"\xd2")


@dataclass(frozen=True, slots=True)
class LlcPdu:
    """LSAPs are 0..255."""

    destination: int
    source: int
    apdu: bytes

    def octets(self) -> bytes:
        return bytes((self.destination, self.source, CONTROL)) + self.apdu


def decode_llc(message: bytes) -> LlcPdu:
    """One whole message. Raises MeterFault where it is none."""
    if len(message) <= HEADER_OCTETS or message[2] != CONTROL:
        raise MeterFault(f"no LLC header of IEC 61334-4-32: {message[:HEADER_OCTETS].hex(' ')}")
    return LlcPdu(message[0], message[1], message[HEADER_OCTETS:])


@dataclass(slots=True)
class Llc432Link:
    """`client` and `server` are LSAPs. The network keeps no connection, so an association must be released."""

    client: int
    server: int
    timing: Timing = field(default_factory=Timing)
    repairs: bool = field(default=False, init=False)
    streams: bool = field(default=False, init=False)
    needs_release: bool = field(default=True, init=False)

    def connect(self) -> Conversation[None]:
        yield from ()

    def disconnect(self) -> Conversation[None]:
        yield from ()

    def request(self, *apdus: bytes) -> Conversation[bytes]:
        """Raises ValueError for several PDUs: a message carries one."""
        if len(apdus) != 1:
            raise ValueError("the LLC of 4-32 carries one PDU at a time")
        return (yield from self._exchange(LlcPdu(self.server, self.client, apdus[0]).octets()))

    def receive(self) -> Conversation[bytes]:
        return (yield from self._exchange(b""))

    def _exchange(self, octets: bytes) -> Conversation[bytes]:
        received = yield Exchange(octets, self._find, None, self.timing.answer_ms, 0, repeatable=False)
        return decode_llc(received).apdu

    def _find(self, received: bytes) -> Found | None:
        try:
            pdu = decode_llc(received)
        except MeterFault:
            return None
        wanted = (pdu.destination, pdu.source) == (self.client, self.server) and pdu.apdu[:1] not in _UNASKED
        return Found(0, len(received)) if wanted else None
