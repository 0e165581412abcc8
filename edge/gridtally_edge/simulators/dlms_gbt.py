"""The meter's side of general block transfer (IEC 62056-5-3, 9.4.6.13): any PDU in numbered pieces, with windows.

* Sending: the first block alone, then as many as the client's last block allows; what it did not confirm goes again.
* Block numbers of one side count through an exchange, acknowledgements included.
* Receiving: blocks in order are joined; each block that does not stream is answered with what has come so far.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.dlms.notification import GeneralBlock
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_shared.records import dataclass

_LAST, _STREAMING, _WINDOW = 0x80, 0x40, 0x3F
OWN_WINDOW: Final = 6
_HEAD: Final = 12
MAX_PDU: Final = 1 << 17


@dataclass(slots=True)
class BlockCarrier:
    """Block transfer of one association; `limit` is the largest PDU."""

    limit: int
    quirks: QuirkBoard
    _pieces: list[bytes] = field(default_factory=list, init=False)
    _own: int = field(default=0, init=False)
    _base: int = field(default=0, init=False)
    _confirmed: int = field(default=0, init=False)
    _taken: int = field(default=0, init=False)
    _incoming: bytes = field(default=b"", init=False)
    _streaming: bool = field(default=False, init=False)
    _window: int = field(default=1, init=False)

    def start(self) -> None:
        """A new exchange, opened by a request that is no block."""
        self._pieces, self._own, self._taken, self._incoming = [], 0, 0, b""

    def send(self, apdu: bytes) -> tuple[bytes, ...]:
        """The first blocks of an answer; their numbers go on behind those of our acknowledgements."""
        size = max(self.limit - _HEAD, 1)
        self._pieces = [apdu[at : at + size] for at in range(0, len(apdu), size)]
        self._base, self._confirmed, self._incoming = self._own, 0, b""
        return self._next(self._window)

    def take(self, block: GeneralBlock) -> bytes | None:
        """One block of the client; the whole PDU where it is complete."""
        self._streaming, self._window = bool(block.control & _STREAMING), max(block.control & _WINDOW, 1)
        if self._pieces and not block.piece:
            self._confirmed = min(max(block.acknowledged - self._base, 0), len(self._pieces))
            return None
        if block.number == 1:
            self.start()
        self._pieces = []
        if block.number == self._taken + 1 and len(self._incoming) < MAX_PDU:
            self._taken, self._incoming = block.number, self._incoming + block.piece
            return self._incoming if block.last else None
        return None

    def due(self) -> tuple[bytes, ...]:
        """What answers the block just taken."""
        if self._pieces:
            return self._more()
        if self._streaming:
            return ()
        self._own += 1
        return (self._block(_LAST, self._own, b""),)

    def _more(self) -> tuple[bytes, ...]:
        if self._confirmed >= len(self._pieces):
            self._pieces = []
            return ()
        return self._next(self._window)

    def _next(self, count: int) -> tuple[bytes, ...]:
        places = range(self._confirmed, min(self._confirmed + count, len(self._pieces)))
        blocks = [self._placed(place, place == places[-1]) for place in places]
        if len(blocks) > 1 and self.quirks.acts(Quirk.LOSE_GENERAL_BLOCK):
            del blocks[0]
        return tuple(blocks)

    def _placed(self, place: int, ends_window: bool) -> bytes:
        last = place == len(self._pieces) - 1
        control = (_LAST if last else 0) | (0 if ends_window else _STREAMING)
        self._own = max(self._own, self._base + place + 1)
        return self._block(control, self._base + place + 1, self._pieces[place])

    def _block(self, control: int, number: int, piece: bytes) -> bytes:
        return GeneralBlock(control | OWN_WINDOW, number, self._taken, piece).octets()
