"""Which model answers at a Modbus unit: asked with what the profiles themselves say, for `gridtally-dcu scan`.

* A model number that a profile knows decides. Else a profile is likely when its frequency register holds 40 to 70 Hz:
  the one value that is known beforehand and never zero on a live meter. Several may be likely; a person chooses.
* Every cell is asked once, however many profiles look at it. A refusal means "not this one"; a unit that stays silent at
  the first question is not there, and the line's LinkDown says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from gridtally_edge.drivers.modbus_decode import BlockDecoder
from gridtally_edge.drivers.modbus_port import serial_text
from gridtally_edge.drivers.modbus_profile import Profile, built_in, profile_names
from gridtally_edge.drivers.modbus_table import Register, block_of
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.modbus import Function, Query, ReadRequest, Refusal, decode_value
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

FREQUENCY = "frequency_mhz"
LIVE_MHZ = range(40_000, 70_001)

Cell = tuple[Function, int, int]


@dataclass(frozen=True, slots=True)
class Likeness:
    """`sure`: the meter's model number says so. `serial` is empty where the model does not tell it."""

    profile: str
    serial: str
    sure: bool


@dataclass(slots=True)
class _Asker:
    unit: int
    timeout_ms: int
    retries: int
    answers: dict[Cell, bytes | None]

    def ask(self, cell: Cell) -> Conversation[bytes | None]:
        """The registers' octets, None where the meter refuses or answers nonsense."""
        if cell not in self.answers:
            query = Query(ReadRequest(self.unit, *cell), self.timeout_ms, self.retries)
            answer = query.octets((yield query.exchange))
            self.answers[cell] = None if isinstance(answer, Refusal) else answer
        return self.answers[cell]


def recognise(unit: int, timeout_ms: int = 300, retries: int = 0) -> Conversation[tuple[Likeness, ...]]:
    """The profiles of this folder that fit the meter at `unit`, the sure ones alone if there are any."""
    asker = _Asker(unit, timeout_ms, retries, {})
    found: list[Likeness] = []
    for profile in _candidates():
        sure = yield from _knows_the_model(asker, profile)
        if sure or (sure is None and (yield from _frequency_is_live(asker, profile))):
            found.append(Likeness(profile.name, (yield from _serial(asker, profile)), bool(sure)))
    certain = tuple(likeness for likeness in found if likeness.sure)
    return certain or tuple(likeness for likeness in found)


@cache
def _candidates() -> tuple[Profile, ...]:
    """Those with a model number first; a pulse module has nothing to be known by."""
    profiles = [built_in(name) for name in profile_names()]
    return tuple(sorted((p for p in profiles if not p.pulse), key=lambda p: not (p.table.probe and p.table.probe.values)))


def _knows_the_model(asker: _Asker, profile: Profile) -> Conversation[bool | None]:
    """None where the profile has no model number."""
    probe = profile.table.probe
    if probe is None or not probe.values:
        return None
    octets = yield from asker.ask((probe.function, probe.address, probe.kind.words))
    if octets is None:
        return False
    words = tuple(int.from_bytes(octets[n : n + 2], "big") for n in range(0, len(octets), 2))
    return probe.accepts(decode_value(words, probe.kind, probe.order))


def _frequency_is_live(asker: _Asker, profile: Profile) -> Conversation[bool]:
    for row in _frequency_rows(profile):
        octets = yield from asker.ask((row.function, row.address, row.kind.words))
        if octets is not None and BlockDecoder(block_of((row,))).readings(octets, 0)[0].value in LIVE_MHZ:
            return True
    return False


def _frequency_rows(profile: Profile) -> Iterator[Register]:
    return (row for row in profile.table.registers if row.quantity == FREQUENCY and row.exponent_at is None)


def _serial(asker: _Asker, profile: Profile) -> Conversation[str]:
    cell = profile.table.serial
    if cell is None:
        return ""
    octets = yield from asker.ask((cell.function, cell.address, cell.words))
    try:
        return serial_text(cell, octets) if octets else ""
    except MeterFault:
        return ""
