"""Explain wired M-Bus octets for `gridtally decode`: every frame, who sent it, every record in words.

* A checksum proves a frame. Octets of its shape with a wrong one are shown as damaged, without values.
* Frames whose CI field is below 20 hexadecimal carry DLMS and are left to its decoder.

Source: EN 13757-2:2018, EN 13757-3:2018.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final

from gridtally_edge.protocols.mbus.compact import Formats
from gridtally_edge.protocols.mbus.fields import Invalid, Moment
from gridtally_edge.protocols.mbus.frames import FCB, SHORT_BYTES, Control, Frame, decode_frame, find_frame, frame_length
from gridtally_edge.protocols.mbus.header import Header, StatusFlag
from gridtally_edge.protocols.mbus.link import RESET_CI, SELECT_CI
from gridtally_edge.protocols.mbus.records import Function, Record, Records
from gridtally_edge.protocols.mbus.telegram import decode_answer
from gridtally_shared.errors import MeterFault
from gridtally_shared.explain import ExplainedReading, Explanation, Keys

KIND: Final = "mbus"
LARGEST_DLMS_CI: Final = 0x1F
_WORDS: dict[int, str] = {
    Control.SND_NKE: "resets the link",
    Control.SND_UD & ~FCB: "sends data",
    Control.REQ_UD1 & ~FCB: "asks for alarms",
    Control.REQ_UD2 & ~FCB: "asks for data",
    Control.RSP_UD: "answers",
}
_CI_WORDS: dict[int, str] = {SELECT_CI: "selects a meter", RESET_CI: "resets the application"}


def explain_mbus(data: bytes, keys: Keys) -> Explanation | None:
    """An entry point of `gridtally.decoders`; wired M-Bus needs no keys here."""
    frames = tuple(_frames(data))
    if not frames:
        return _damaged(data)
    if any(frame.ci is not None and frame.ci <= LARGEST_DLMS_CI for frame in frames):
        return None
    if all(frame.ci is None for frame in frames) and len(data) > SHORT_BYTES * (len(frames) + 1):
        return None
    lines: list[str] = []
    readings: list[ExplainedReading] = []
    faults: list[str] = []
    formats = Formats()
    for frame in frames:
        lines.append(sentence(frame))
        if frame.ci is None or frame.control & 0x0F != Control.RSP_UD:
            continue
        try:
            telegram = decode_answer(frame, formats)
        except MeterFault as fault:
            faults.append(str(fault))
            continue
        lines += header_lines(telegram.header) + tail_lines(telegram.contents)
        readings += readings_of(telegram.contents.records)
    title = f"M-Bus, {len(frames)} frame{'s' if len(frames) > 1 else ''}: {sentence(frames[-1])}"
    return Explanation(KIND, title, tuple(lines), tuple(readings), tuple(faults), proved=True)


def _frames(data: bytes) -> Iterator[Frame]:
    start = 0
    while (found := find_frame(data[start:])) is not None:
        yield decode_frame(data[start + found.start : start + found.end])
        start += found.end


def sentence(frame: Frame) -> str:
    word = _CI_WORDS.get(frame.ci or 0) or _WORDS.get(frame.control & ~FCB if frame.control & 0x40 else frame.control & 0x0F, "speaks")
    return f"address {frame.address} {word}" if not frame.control & 0x40 else f"the master {word}, address {frame.address}"


def header_lines(header: Header) -> list[str]:
    lines = [f"  {header.identity}, access number {header.access}"] if header.identity else []
    flags = [flag.name.lower().replace("_", " ") for flag in StatusFlag if flag in header.flags and flag.name]
    state = header.application.name.lower().replace("_", " ")
    return [*lines, f"  status: {', '.join([state, *flags])}"]


def tail_lines(contents: Records) -> list[str]:
    lines = [f"  maker's own data: {contents.maker_data.hex(' ')}"] if contents.maker_data else []
    return [*lines, "  another telegram follows"] if contents.more_follow else lines


def readings_of(records: Iterable[Record]) -> list[ExplainedReading]:
    return [ExplainedReading(label(record), plain_value(record), record.unit) for record in records]


def label(record: Record) -> str:
    """The name with everything that tells it from its neighbours."""
    words = [record.name]
    if record.function is not Function.INSTANT:
        words.append(record.function.name.lower().replace("_", " "))
    places = (("storage", record.storage), ("tariff", record.tariff), ("unit", record.subunit))
    words += [f"{name} {number}" for name, number in places if number]
    return ", ".join([*words, *record.named.qualifiers])


def plain_value(record: Record) -> int | Decimal | str:
    value = record.value
    if isinstance(value, Invalid):
        return f"invalid: {value.why}"
    if isinstance(value, Moment):
        return value.text + (" summer time" if value.summer else "")
    if isinstance(value, bytes):
        return value.hex(" ")
    return value if isinstance(value, int | Decimal | str) else ""


def _damaged(data: bytes) -> Explanation | None:
    """One frame by its shape, with a wrong checksum or cut short."""
    length = frame_length(data[:4])
    if length <= SHORT_BYTES or len(data) < 4 or not length // 2 <= len(data) <= length:
        return None
    try:
        decode_frame(data)
    except MeterFault as fault:
        return Explanation(KIND, "M-Bus frame, damaged on the line", faults=(str(fault),))
    return None
