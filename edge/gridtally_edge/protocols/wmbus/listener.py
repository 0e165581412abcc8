"""What a radio receiver brings, as telegrams with their senders. Repeats are passed over.

* The source is the sender's address (`HYD 92752244 29 07`): maker, number, version and type in hexadecimal digits.
* A repeater sends a telegram again and sets a hop bit; a receiver may hear it twice. The same access number and the same
  end from the same sender within `REPEAT_S` are a repeat.

Source: EN 13757-4:2019; OMS specification 4.1, volume 2, chapter 7.
"""

from __future__ import annotations

from dataclasses import field
from typing import Final

from gridtally_edge.protocols.listening import Told
from gridtally_edge.protocols.wmbus.layers import is_extended_link
from gridtally_edge.protocols.wmbus.link import RadioFrame, read_frame
from gridtally_edge.protocols.wmbus.receivers import Receiver
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

REPEAT_S: Final = 60.0
MOST_SENDERS: Final = 4_096
_ENDING: Final = 16

Mark = tuple[int, bytes]


def access_number(body: bytes) -> int:
    """Of the first layer that has one; 0 where there is none."""
    if not body:
        return 0
    place = 2 if is_extended_link(body[0]) else {0x7A: 1, 0x7B: 1, 0x72: 9}.get(body[0], 0)
    return body[place] if place and place < len(body) else 0


def source_of(frame: RadioFrame) -> str:
    sender = frame.sender
    return f"{sender.maker} {sender.number} {sender.version:02X} {sender.medium:02X}"


@dataclass(slots=True)
class RadioListener:
    receiver: Receiver
    repeats: int = 0
    _damaged: int = 0
    _last: dict[bytes, tuple[Mark, float]] = field(default_factory=dict)

    @property
    def spoiled(self) -> int:
        return self._damaged + self.receiver.spoiled

    def feed(self, octets: bytes, mono_s: float) -> tuple[Told, ...]:
        told: list[Told] = []
        for caught in self.receiver.feed(octets):
            try:
                frame = read_frame(caught.frame)
            except MeterFault:
                self._damaged += 1
                continue
            if self._is_new(frame, mono_s):
                told.append(Told(source_of(frame), caught.frame, caught.quality))
        return tuple(told)

    def _is_new(self, frame: RadioFrame, mono_s: float) -> bool:
        mark = access_number(frame.body), frame.body[-_ENDING:]
        before, heard_s = self._last.pop(frame.address, (None, 0.0))
        if len(self._last) >= MOST_SENDERS:
            del self._last[next(iter(self._last))]
        self._last[frame.address] = mark, mono_s
        if before != mark or mono_s - heard_s > REPEAT_S:
            return True
        self.repeats += 1
        return False
