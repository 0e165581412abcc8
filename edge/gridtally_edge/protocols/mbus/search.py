"""Who hangs on a wired M-Bus: by primary address, or by a wildcard search through the identifications.

* One probe is one short conversation, so that silence (the usual answer) is the line's LinkDown and nothing is held up.
* Several meters that answer at once show as a wrong frame, or as an acknowledgement without a readable answer: then the
  next digit is tried with 0 to 9. Identifications may hold A to E as well; those are found by their whole number only.
* `Search` is pure: it names the next selection, and is told what came of it. Meters that share all eight digits are told
  apart by maker letters only when one of them is known; they are reported as twins.

Source: EN 13757-3:2018 clause 12 (wildcard selection); M-Bus documentation 4.8, chapter 7.4.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Final

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found
from gridtally_edge.protocols.mbus.address import ID_DIGITS, Address
from gridtally_edge.protocols.mbus.frames import FCB, STRAY, Control, Frame, decode_frame, is_ack
from gridtally_edge.protocols.mbus.header import Identity
from gridtally_edge.protocols.mbus.link import LinkTiming, response_of, selecting
from gridtally_edge.protocols.mbus.telegram import decode_answer
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.records import dataclass

PROBE_TIMING: Final = LinkTiming(timeout_ms=400, retries=0)
_DIGITS: Final = "0123456789"


class Seen(Enum):
    NOBODY = "nobody"
    ONE = "one"
    SEVERAL = "several"


@dataclass(frozen=True, slots=True)
class Probed:
    """`identity` is of the one meter that answered, None where it tells none."""

    seen: Seen
    identity: Identity | None = None


def probe_primary(address: int, timing: LinkTiming = PROBE_TIMING) -> Conversation[Probed]:
    """Ask one primary address who it is. Silence ends in the line's LinkDown: nobody is there."""
    reset = Frame(Control.SND_NKE, address).to_bytes()
    answer = yield Exchange(reset, _anything, 1, timing.timeout_ms, timing.retries)
    if not is_ack(answer):
        return Probed(Seen.SEVERAL)
    return (yield from _who(Address(address), timing))


def probe_selection(digits: str, timing: LinkTiming = PROBE_TIMING) -> Conversation[Probed]:
    """Select by identification digits (F: any) and ask who answers. Silence to the selection ends in LinkDown: nobody."""
    address = Address.of(digits)
    answer = yield Exchange(selecting(address.selection).to_bytes(), _anything, 1, timing.timeout_ms, timing.retries)
    if not is_ack(answer):
        return Probed(Seen.SEVERAL)
    return (yield from _who(address, timing))


def _who(address: Address, timing: LinkTiming) -> Conversation[Probed]:
    request = Frame(Control.REQ_UD2 | FCB, address.link).to_bytes()
    try:
        answer = yield Exchange(request, _FrameOrNoise(address.link), None, timing.timeout_ms, timing.retries)
    except LinkDown:  # it was there a moment ago: the answers of several spoil each other
        return Probed(Seen.SEVERAL)
    try:
        return Probed(Seen.ONE, decode_answer(decode_frame(answer)).header.identity)
    except MeterFault:
        return Probed(Seen.SEVERAL)


def _anything(received: bytes) -> Found | None:
    """Whatever comes is an answer here: a lone E5, or a sign of several meters. Stray 00 and FF alone are neither."""
    return Found(0, len(received)) if received.strip(STRAY) else None


@dataclass(frozen=True, slots=True)
class _FrameOrNoise:
    """A sound frame; or as many octets as a frame ought to have, without being one."""

    link: int

    def __call__(self, received: bytes) -> Found | None:
        sound = response_of(self.link)(received)
        if sound is not None:
            return sound
        announced = received[1] + 6 if len(received) > 1 and received[0] == 0x68 else 9
        return Found(0, len(received)) if len(received) >= announced else None


@dataclass(slots=True)
class Search:
    """`next_digits` until it says None; `tell` what each probe saw. Found meters and twins are then here."""

    found: list[Identity] = field(default_factory=list)
    twins: list[str] = field(default_factory=list)
    _waiting: list[str] = field(default_factory=lambda: ["F" * ID_DIGITS])
    _asked: str = ""

    def next_digits(self) -> str | None:
        if not self._waiting:
            return None
        self._asked = self._waiting.pop()
        return self._asked

    def left(self) -> int:
        """How many selections are still to be asked, as far as is known now."""
        return len(self._waiting)

    def tell(self, probed: Probed) -> None:
        """What came of the selection that `next_digits` named last."""
        if probed.seen is Seen.ONE and probed.identity is not None:
            if probed.identity not in self.found:
                self.found.append(probed.identity)
        elif probed.seen is Seen.SEVERAL:
            self._descend()

    def _descend(self) -> None:
        fixed = self._asked.rstrip("F")
        if len(fixed) == ID_DIGITS:
            self.twins.append(fixed)
            return
        self._waiting += [(fixed + digit).ljust(ID_DIGITS, "F") for digit in reversed(_DIGITS)]

