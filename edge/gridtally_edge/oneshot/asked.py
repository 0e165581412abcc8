"""What can be asked of a meter from a shell: one row a question, each a conversation in one session.

* The serial is always read, so that an answer says whose it is.
* `object:` reads one object with all its attributes, by the meter's own names: an OBIS code for DLMS and IEC 62056-21.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gridtally_edge.drivers.model import Capability, Diagnostic, MeterEvent, MeterPort, NamePlate, Now, Reading, SwitchState
from gridtally_edge.oneshot.objects import read_named
from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

OBJECT = "object:"


@dataclass(frozen=True, slots=True)
class Question:
    """`from_ms`..`to_ms` bound what has a time."""

    what: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the meter said; what was not asked is None or empty."""

    serial: str
    plate: NamePlate | None = None
    switch: SwitchState | None = None
    clock_offset_ms: int | None = None
    readings: tuple[Reading, ...] = ()
    events: tuple[MeterEvent, ...] | None = None
    diagnostics: tuple[Diagnostic, ...] | None = None
    objects: tuple[tuple[str, str], ...] = ()


Step = Callable[[MeterPort, Question, Now, Answer], Conversation[Answer]]


def conversation(port: MeterPort, question: Question, now: Now) -> Conversation[Answer]:
    """Raises LinkDown, MeterFault or RefusedCommand; the session is released before."""
    yield from port.open()
    try:
        answer = Answer((yield from port.read_serial()))
        answer = yield from _step(question.what)(port, question, now, answer)
    except (GeneratorExit, Exception) as error:
        if not isinstance(error, GeneratorExit):
            yield from port.close()
        raise
    yield from port.close()
    return answer


def check(what: str) -> None:
    """Raises ConfigError for something nobody can be asked."""
    _step(what)


def _step(what: str) -> Step:
    if what.startswith(OBJECT):
        return _object
    if what not in WHATS:
        raise ConfigError("--what", what, f"write one of {', '.join(WHATS)}, or {OBJECT}1.0.1.8.0.255")
    return WHATS[what]


def _identity(port: MeterPort, _: Question, now: Now, answer: Answer) -> Conversation[Answer]:
    if Capability.NAME_PLATE in port.capabilities:
        answer = replace(answer, plate=(yield from port.read_name_plate()))
    return (yield from _clock(port, now, answer))


def _clock(port: MeterPort, now: Now, answer: Answer) -> Conversation[Answer]:
    if Capability.CLOCK not in port.capabilities:
        return answer
    meter_ms = yield from port.read_clock()
    return replace(answer, clock_offset_ms=meter_ms - now())


def _instant(port: MeterPort, _: Question, now: Now, answer: Answer) -> Conversation[Answer]:
    readings = yield from port.read_instant(now)
    return replace(answer, readings=readings, switch=(yield from port.read_switch()))


def _profile(port: MeterPort, q: Question, _: Now, answer: Answer) -> Conversation[Answer]:
    return replace(answer, readings=(yield from port.read_intervals(q.from_ms, q.to_ms)))


def _daily(port: MeterPort, q: Question, _: Now, answer: Answer) -> Conversation[Answer]:
    return replace(answer, readings=(yield from port.read_daily(q.from_ms, q.to_ms)))


def _billing(port: MeterPort, q: Question, _: Now, answer: Answer) -> Conversation[Answer]:
    return replace(answer, readings=(yield from port.read_billing(q.from_ms, q.to_ms)))


def _events(port: MeterPort, q: Question, now: Now, answer: Answer) -> Conversation[Answer]:
    found = yield from port.read_events(q.from_ms)
    if Capability.STATUS_WORD in port.capabilities:
        found += yield from port.read_status_word(now)
    return replace(answer, events=tuple(e for e in found if e.at_ms <= max(q.to_ms, now())))


def _diagnostics(port: MeterPort, _: Question, __: Now, answer: Answer) -> Conversation[Answer]:
    return replace(answer, diagnostics=(yield from port.read_diagnostics()))


def _object(port: MeterPort, q: Question, _: Now, answer: Answer) -> Conversation[Answer]:
    return replace(answer, objects=(yield from read_named(port, q.what.removeprefix(OBJECT))))


WHATS: dict[str, Step] = {
    "identity": _identity,
    "instant": _instant,
    "profile": _profile,
    "daily": _daily,
    "billing": _billing,
    "events": _events,
    "diagnostics": _diagnostics,
}

USUAL_SPAN_MS: dict[str, int] = {"daily": 31 * MS_PER_DAY, "billing": 400 * MS_PER_DAY, "events": 31 * MS_PER_DAY}
"""How far back is asked without --from; a day for the rest."""
