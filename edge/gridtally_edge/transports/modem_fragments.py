"""Messages longer than a network's MTU, in numbered pieces, and back.

* Each piece starts with two octets: the message's number (0..255, going round for each address), then the piece's index in
  bits 0..6 with bit 7 set on the last one. A message has at most 128 pieces.
* Pieces may come in any order and twice. A message that misses one is dropped when a later message of the same sender is
  whole, or after `KEEP_S`; a sender has at most `MOST_OPEN` unfinished ones. Nothing is asked for again here: the request is
  repeated as a whole, as the rules of its protocol allow.
"""

from __future__ import annotations

from dataclasses import field

from gridtally_shared.errors import LinkDown
from gridtally_shared.records import dataclass

HEADER_OCTETS = 2
MOST_PIECES = 128
MOST_OPEN = 4
KEEP_S = 30.0
_LAST = 0x80


@dataclass(slots=True)
class Fragmenter:
    """Cuts messages; one for each modem."""

    mtu: int
    _numbers: dict[str, int] = field(default_factory=dict)

    def pieces(self, address: str, message: bytes) -> tuple[bytes, ...]:
        """Raises LinkDown for a message no network of this MTU can carry."""
        size = self.mtu - HEADER_OCTETS
        count = max(1, -(-len(message) // size))
        if count > MOST_PIECES:
            raise LinkDown(f"{len(message)} octets do not fit {MOST_PIECES} pieces of {size}: ask the meter for smaller PDUs")
        number = self._numbers.get(address, 0)
        self._numbers[address] = (number + 1) % 256
        last = count - 1
        return tuple(
            bytes((number, index | (_LAST if index == last else 0))) + message[index * size : (index + 1) * size] for index in range(count)
        )


@dataclass(slots=True)
class _Unfinished:
    begun_s: float
    pieces: dict[int, bytes] = field(default_factory=dict)
    last: int | None = None

    def whole(self) -> bytes | None:
        if self.last is None or any(index not in self.pieces for index in range(self.last + 1)):
            return None
        return b"".join(self.pieces[index] for index in range(self.last + 1))


@dataclass(slots=True)
class Reassembler:
    """Joins pieces; one for each modem. `lost` counts messages that were dropped unfinished."""

    lost: int = 0
    _open: dict[str, dict[int, _Unfinished]] = field(default_factory=dict)
    _finished: dict[str, int] = field(default_factory=dict)

    def add(self, address: str, piece: bytes, now_s: float) -> bytes | None:
        """The message this piece completes, if it does. Pieces without a header are dropped."""
        if len(piece) < HEADER_OCTETS:
            return None
        number, place = piece[0], piece[1]
        if place == _LAST and not self._open.get(address):  # one piece is the whole message: nothing to keep
            return self._once(address, number, piece[HEADER_OCTETS:])
        waiting = self._open.setdefault(address, {})
        self._forget_old(waiting, now_s)
        unfinished = waiting.setdefault(number, _Unfinished(now_s))
        unfinished.pieces[place & ~_LAST] = piece[HEADER_OCTETS:]
        if place & _LAST:
            unfinished.last = place & ~_LAST
        message = unfinished.whole()
        if message is None:
            self._make_room(waiting)
            return None
        del waiting[number]
        self.lost += len(waiting)
        del self._open[address]
        return self._once(address, number, message)

    def forget(self, address: str) -> None:
        """The address belongs to somebody else now."""
        self._open.pop(address, None)
        self._finished.pop(address, None)

    def _once(self, address: str, number: int, message: bytes) -> bytes | None:
        """A network may deliver the last piece twice: the same number right after itself is a duplicate."""
        if self._finished.get(address) == number:
            return None
        self._finished[address] = number
        return message

    def _forget_old(self, waiting: dict[int, _Unfinished], now_s: float) -> None:
        for number in [n for n, u in waiting.items() if now_s - u.begun_s > KEEP_S]:
            del waiting[number]
            self.lost += 1

    def _make_room(self, waiting: dict[int, _Unfinished]) -> None:
        while len(waiting) > MOST_OPEN:
            del waiting[next(iter(waiting))]
            self.lost += 1
