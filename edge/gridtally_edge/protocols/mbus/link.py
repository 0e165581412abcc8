"""Conversations with a wired M-Bus meter: reset, select, read everything, switch its speed.

* SND_NKE first: it clears the frame count bit, so the first REQ_UD2 (7B) gives the first telegram. A meter that stays
  silent to it is taken for absent.
* FCB alternates from question to question; the same answer twice (or a meter that says it has no more) ends a readout of
  several telegrams, `MOST_TELEGRAMS` ends it for sure.
* A meter behind a secondary address is selected (CI 52) and then answers on 253. It stays selected until another one is,
  so each conversation selects anew.
* An answer counts only from the address that was asked: on a bus a late answer of another meter may stand in front.

Source: EN 13757-2:2018, EN 13757-3:2018 clauses 11 and 12; M-Bus documentation 4.8, chapters 5 to 7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gridtally_edge.protocols.conversation import Conversation, Exchange, Found
from gridtally_edge.protocols.mbus.address import Address
from gridtally_edge.protocols.mbus.compact import Formats
from gridtally_edge.protocols.mbus.frames import (
    FCB,
    SELECTED,
    SHORT_START,
    TEST_ADDRESS,
    Control,
    Frame,
    decode_frame,
    find_ack,
    sound_frames,
)
from gridtally_edge.protocols.mbus.telegram import Telegram, decode_answer
from gridtally_shared.records import dataclass

SELECT_CI, RESET_CI = 0x52, 0x50
BAUD_CI: dict[int, int] = {300: 0xB8, 600: 0xB9, 1_200: 0xBA, 2_400: 0xBB, 4_800: 0xBC, 9_600: 0xBD}
MOST_TELEGRAMS: Final = 16
_RESPONSE_BITS: Final = 0x0F
_ANY_SENDER = frozenset({SELECTED, TEST_ADDRESS})


@dataclass(frozen=True, slots=True)
class LinkTiming:
    """A meter begins to answer within 330 bit times and 50 ms: 190 ms at 2400 baud, 1150 ms at 300."""

    timeout_ms: int = 600
    retries: int = 2


def awaken(address: Address, timing: LinkTiming) -> Conversation[None]:
    """Reset the link of a meter, and select it where its address is secondary. Silence ends in the line's LinkDown."""
    if not address.selection:
        yield from _send(Frame(Control.SND_NKE, address.link), timing)
        return
    yield from _send(selecting(address.selection), timing)


def selecting(selection: bytes) -> Frame:
    """The frame that selects the meters of these eight octets and releases all others."""
    return Frame(Control.SND_UD, SELECTED, SELECT_CI, selection)


def read_telegrams(address: Address, timing: LinkTiming, formats: Formats | None = None) -> Conversation[tuple[Telegram, ...]]:
    """Everything a meter tells, in one or more telegrams. Raises MeterFault for an answer that can not be read."""
    yield from awaken(address, timing)
    telegrams: list[Telegram] = []
    before = b""
    while len(telegrams) < MOST_TELEGRAMS:
        answer = yield from _request(address, len(telegrams), timing)
        if answer == before:
            break
        before = answer
        telegrams.append(decode_answer(decode_frame(answer), formats))
        if not telegrams[-1].contents.more_follow:
            break
    return tuple(telegrams)


def change_baud(address: Address, baud: int, timing: LinkTiming) -> Conversation[None]:
    """Order another speed. The meter confirms in the old one; the line must follow. Raises ValueError for a speed that
    M-Bus has not."""
    if baud not in BAUD_CI:
        raise ValueError(f"M-Bus knows {', '.join(map(str, BAUD_CI))} baud")
    yield from _send(Frame(Control.SND_UD | FCB, address.link, BAUD_CI[baud]), timing)


def _send(frame: Frame, timing: LinkTiming) -> Conversation[None]:
    request = frame.to_bytes()

    def find(received: bytes) -> Found | None:
        return find_ack(received, request)

    yield Exchange(request, find, 1, timing.timeout_ms, timing.retries)


def _request(address: Address, number: int, timing: LinkTiming) -> Conversation[bytes]:
    control = Control.REQ_UD2 | (0 if number % 2 else FCB)
    request = Frame(control, address.link).to_bytes()
    return (yield Exchange(request, response_of(address.link), None, timing.timeout_ms, timing.retries))


def response_of(link: int) -> Callable[[bytes], Found | None]:
    """Finds the answer of the meter with this link address; a selected meter answers under its own."""

    def find(received: bytes) -> Found | None:
        sound = sound_frames(received)
        return next((found for found in sound if _is_response(received[found.start : found.end], link)), None)

    return find


def _is_response(frame: bytes, link: int) -> bool:
    if frame[0] == SHORT_START or frame[4] & _RESPONSE_BITS != Control.RSP_UD:
        return False
    return link in _ANY_SENDER or frame[5] == link
