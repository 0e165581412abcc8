"""General block transfer of any PDU, both ways (IEC 62056-5-3, 9.4.6.13): streaming, windows, recovery of lost blocks.

* Blocks are numbered from 1. A sender streams as many as the other side's window allows, the last of them without the
  streaming bit; then the other side says up to which block it has all of them, and sending goes on behind that one.
* Receiving: a hole or a silence within a stream is answered by the last block in order, and the meter repeats the rest.
* The meter's window is 1 until it has told another.
* Every loop has an end: recoveries and octets are bounded.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms.notification import GeneralBlock
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_edge.protocols.dlms.timing import Link, LinkDropped
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.records import dataclass

WINDOW: Final = 6
MAX_RECOVERIES: Final = 16
MAX_OCTETS: Final = 1 << 20
HEAD_OCTETS: Final = 9
_LAST, _STREAMING, _WINDOW_BITS = 0x80, 0x40, 0x3F


def is_block(apdu: bytes) -> bool:
    return apdu[:1] == GeneralBlock.tags


def send(link: Link, apdu: bytes, room: int) -> Conversation[bytes]:
    """Send a PDU too long for the meter in blocks of at most `room` octets, and return the PDU that answers (which may
    be a block again). Raises LinkDown, or MeterFault where the meter does not follow the protocol."""
    size = max(room - HEAD_OCTETS, 1)
    pieces = [apdu[at : at + size] for at in range(0, len(apdu), size)]
    done, window, idle = 0, 1, 0
    while True:
        answer = yield from link.request(*_burst(pieces, done, window if link.streams else 1))
        if not is_block(answer):
            return answer
        block = _block(answer)
        if block.piece and block.acknowledged >= len(pieces):
            return answer
        idle = 0 if block.acknowledged > done else idle + 1
        if block.acknowledged > len(pieces) or idle > MAX_RECOVERIES:
            raise MeterFault(f"general block transfer: the meter has block {block.acknowledged}, {len(pieces)} were sent")
        done, window = max(block.acknowledged, 0), max(1, block.control & _WINDOW_BITS)
        if done == len(pieces):
            return (yield from link.receive())


def _burst(pieces: list[bytes], done: int, window: int) -> tuple[bytes, ...]:
    blocks = range(done, min(done + window, len(pieces)))
    return tuple(_sent_block(pieces, number, number == blocks[-1]) for number in blocks)


def _sent_block(pieces: list[bytes], index: int, stop: bool) -> bytes:
    last = index == len(pieces) - 1
    control = (_LAST if last else 0) | (0 if stop else _STREAMING) | WINDOW
    return GeneralBlock(control, index + 1, 0, pieces[index]).octets()


@dataclass(slots=True)
class _Incoming:
    """A PDU as far as it has come, in order."""

    got: int = 0
    whole: bool = False
    octets: bytearray = field(default_factory=bytearray)

    def take(self, block: GeneralBlock) -> None:
        if block.number != self.got + 1:
            return
        self.got += 1
        self.octets += block.piece
        self.whole = block.last
        if len(self.octets) > MAX_OCTETS:
            raise MeterFault("general block transfer without end")


def receive(link: Link, first: bytes, window: int = WINDOW) -> Conversation[bytes]:
    """The PDU whose first block is `first`. Raises LinkDown, or MeterFault for what is no block of it."""
    block: GeneralBlock | None = _block(first)
    incoming, recoveries, own = _Incoming(_before(_block(first))), 0, 0
    while True:
        before = incoming.got
        if block:
            incoming.take(block)
        if incoming.whole:
            return bytes(incoming.octets)
        recoveries = 0 if incoming.got > before else recoveries + 1
        if recoveries > MAX_RECOVERIES:
            raise LinkDown(f"general block transfer: block {incoming.got + 1} does not come")
        if block and block.control & _STREAMING and not block.last:
            block = yield from _streamed(link)
        else:
            own += 1
            acknowledgement = GeneralBlock(_LAST | window & _WINDOW_BITS, own & 0xFFFF, incoming.got, b"")
            block = _block((yield from link.request(acknowledgement.octets())))


def _before(first: GeneralBlock) -> int:
    """The number before the answer's first block: a meter that acknowledged blocks of ours may count on from there."""
    return first.number - 1 if first.acknowledged else 0


def _streamed(link: Link) -> Conversation[GeneralBlock | None]:
    """The next block of a stream, None where the rest of it was lost."""
    try:
        return _block((yield from link.receive()))
    except LinkDropped:
        raise
    except LinkDown:
        return None


def _block(apdu: bytes) -> GeneralBlock:
    if not is_block(apdu):
        raise MeterFault("the meter breaks off a general block transfer")
    reader = Reader(apdu, 1)
    return GeneralBlock.from_reader(reader)
