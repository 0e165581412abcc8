"""DLMS over the wrapper, as conversations: a byte stream (TCP) or datagrams (UDP), one PDU a datagram.

* The connection itself is the line's; there is no link layer to connect, and an association must be released.
* An answer is the first PDU between our two ports that is no notification. Notifications that come between, and PDUs
  for other ports, are handed to `unsolicited`.
* Nothing is repeated here: on a stream nothing is lost, and on datagrams only the layer above knows what may be asked
  twice and seals it anew.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found
from gridtally_edge.protocols.dlms import wrapper
from gridtally_edge.protocols.dlms.timing import Timing, Unsolicited
from gridtally_edge.protocols.dlms.wrapper import PlacedPdu, WrapperPdu
from gridtally_shared.records import dataclass

_UNASKED: Final = (b"\x0f", b"\xc2", b"\xca", b"\xd2")
"""Tags of notifications; ciphered as general they can only be told apart after opening."""


@dataclass(slots=True)
class WrapperLink:
    """`client` and `server` are the wrapper ports of the two applications."""

    client: int
    server: int
    timing: Timing = field(default_factory=Timing)
    datagrams: bool = False
    unsolicited: Unsolicited | None = field(default=None, repr=False)

    @property
    def repairs(self) -> bool:
        return not self.datagrams

    @property
    def streams(self) -> bool:
        return not self.datagrams

    @property
    def needs_release(self) -> bool:
        return True

    def connect(self) -> Conversation[None]:
        yield from ()

    def disconnect(self) -> Conversation[None]:
        yield from ()

    def request(self, *apdus: bytes) -> Conversation[bytes]:
        octets = b"".join(WrapperPdu(self.client, self.server, apdu).octets() for apdu in apdus)
        return (yield from self._exchange(octets))

    def receive(self) -> Conversation[bytes]:
        return (yield from self._exchange(b""))

    def _exchange(self, octets: bytes) -> Conversation[bytes]:
        received = yield Exchange(octets, self._find, None, self.timing.answer_ms, 0, repeatable=False)
        *between, answer = self._scan(received)
        for placed in between:
            if self.unsolicited:
                self.unsolicited(placed.pdu.apdu)
        return answer.pdu.apdu

    def _find(self, received: bytes) -> Found | None:
        placed = self._scan(received)
        end = next((p.end for p in placed if self._is_answer(p.pdu)), None)
        return None if end is None else Found(placed[0].start, end)

    def _scan(self, received: bytes) -> tuple[PlacedPdu, ...]:
        return wrapper.scan(received, resync=self.datagrams)

    def _is_answer(self, pdu: WrapperPdu) -> bool:
        return (pdu.source, pdu.destination) == (self.server, self.client) and pdu.apdu[:1] not in _UNASKED
