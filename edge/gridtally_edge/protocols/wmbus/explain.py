"""Explain wireless M-Bus octets for `gridtally decode`: a frame as it is, or in the framing of a receiver.

* CRCs, a cipher that opens, or a CMAC prove a frame. One of the right shape with none of them is shown, not proved.
* A ciphered frame without its key says who sent it and asks for the key.

Source: EN 13757-4:2019, EN 13757-7:2018.
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.protocols.mbus.explain import header_lines, readings_of, tail_lines
from gridtally_edge.protocols.wmbus.link import CONTROLS, RadioFrame, read_frame
from gridtally_edge.protocols.wmbus.receivers import amber_step, imst_step, text_step
from gridtally_edge.protocols.wmbus.telegram import KEY_BYTES, RadioTelegram, Security, open_telegram
from gridtally_shared.errors import MeterFault
from gridtally_shared.explain import Explanation, Keys

KIND: Final = "wmbus"
_FRAMINGS: Final = (("IMST receiver", imst_step), ("Amber receiver", amber_step), ("rtl-wmbus", text_step))


def explain_wmbus(data: bytes, keys: Keys) -> Explanation | None:
    """An entry point of `gridtally.decoders`; `keys.encryption` is the meter's key."""
    where, octets, proved = _unwrapped(data)
    try:
        frame = read_frame(octets)
    except MeterFault as fault:
        return _damaged(octets, fault)
    if not _is_likely(frame):
        return None
    title = f"Wireless M-Bus: {frame.sender} {CONTROLS[frame.control]}"
    lines = ((f"  from the framing of an {where}",) if where else ()) + (f"  link layer: {'CRCs right' if frame.has_crc else 'no CRCs'}",)
    key = keys.encryption if keys.encryption and len(keys.encryption) == KEY_BYTES else None
    try:
        telegram = open_telegram(frame, key)
    except MeterFault as fault:
        sure = proved or frame.has_crc
        return Explanation(KIND, title, lines, faults=(str(fault),), proved=sure) if sure or "key" in str(fault) else None
    proved = proved or frame.has_crc or telegram.security is not Security.PLAIN
    return Explanation(KIND, title, lines + _told(telegram), tuple(readings_of(telegram.contents.records)), proved=proved)


def _unwrapped(data: bytes) -> tuple[str, bytes, bool]:
    """The frame in a receiver's framing, and whether that has a checksum that is right."""
    for name, step in _FRAMINGS:
        caught, taken, _ = step(data + (b"\n" if step is text_step else b""))
        if caught is not None and taken >= len(data):
            return name, caught.frame, step is not text_step
    return "", data, False


def _is_likely(frame: RadioFrame) -> bool:
    return frame.control in CONTROLS and len(frame.sender.maker) == 3 and frame.sender.number.isdecimal()


def _told(telegram: RadioTelegram) -> tuple[str, ...]:
    words = {
        Security.PLAIN: "not ciphered",
        Security.CIPHERED: "deciphered, the key fits",
        Security.AUTHENTIC: "deciphered, message authentication code right",
    }
    meter = f"  meter {telegram.identity}, access number {telegram.access}, mode {telegram.mode}: {words[telegram.security]}"
    return (meter, *header_lines(telegram.header)[-1:], *tail_lines(telegram.contents))


def _damaged(octets: bytes, fault: MeterFault) -> Explanation | None:
    """A frame in format A by its shape, whose CRC is wrong."""
    if len(octets) < 12 or "CRC" not in str(fault) or octets[1] not in CONTROLS:
        return None
    return Explanation(KIND, "Wireless M-Bus frame, damaged on the air", faults=(str(fault),))
