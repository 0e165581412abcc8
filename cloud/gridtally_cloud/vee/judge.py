"""Which intervals of a stretch are not to be believed, with the reasons (mdm.md B.2).

* What is impossible fails: a hole, a value the service does not allow, one the meter itself marks as wrong. vee/checks.py says of each
  rule what follows from it and to which channels it applies; a rule set may switch rules off.
* What is only strange (a spike, a standstill, two values for one interval) is held against the register of the same span:

| the register of the window | spike | conflict | stuck | zero | outage |
| --- | --- | --- | --- | --- | --- |
| agrees with the sum | real | real | real | real | real |
| moved less than the sum | fails | fails | fails | real | fails |
| moved more, and nothing is missing | real | fails | fails | fails | real |
| leaves room for what is missing | real | open | open | open | open |
| was not read at the ends of the window | fails | open | fails | open | fails |

  "Open" changes nothing and waits for a person: a measured value is better than an estimate.
* A sum that does not agree although nothing failed is a finding of its own: a person has to look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from enum import Enum
from functools import reduce
from itertools import compress
from operator import or_

from gridtally_cloud.vee.checks import BY_RULE, FOR_A_PERSON, Severity
from gridtally_cloud.vee.local import LocalTime, Span
from gridtally_cloud.vee.model import DayBlock, DayContext, Finding, RuleSet, Stretch
from gridtally_cloud.vee.registers import Register, Window, unexplained, windows
from gridtally_cloud.vee.rules import conflict, gap, limit
from gridtally_cloud.vee.said import Event, dark, idle_use, marked, meter_clock, of_the_moment, outage, with_outages
from gridtally_cloud.vee.screen import asked_of, screened
from gridtally_cloud.vee.shapes import spike, standing_still
from gridtally_native import SCREEN_DARK_USE, SCREEN_GAP, SCREEN_LIMIT, SCREEN_MARKED, SCREEN_SPIKE, SCREEN_STUCK, SCREEN_ZERO
from gridtally_shared.records import dataclass

Screen = Callable[[Stretch, Sequence[Span], RuleSet, int, str], bytes]
"""Says of each local day which rules are worth asking."""
OF_A_DAY = SCREEN_GAP | SCREEN_LIMIT | SCREEN_SPIKE
IS_MISSING = bytes([1]) + bytes(255)
"""1 for what is 0, 0 for all else."""


class Evidence(Enum):
    """What a register says of the intervals of its window."""

    AGREES = "agrees"
    MORE = "moved more"
    LESS = "moved less"
    ROOM = "room"
    NONE = "none"


E, FAILS, REAL, OPEN = Evidence, "fails", "real", "open"

SUSPICIONS = {
    "spike": {E.AGREES: REAL, E.LESS: FAILS, E.MORE: REAL, E.ROOM: REAL, E.NONE: FAILS},
    "conflict": {E.AGREES: REAL, E.LESS: FAILS, E.MORE: FAILS, E.ROOM: OPEN, E.NONE: OPEN},
    "stuck": {E.AGREES: REAL, E.LESS: FAILS, E.MORE: FAILS, E.ROOM: OPEN, E.NONE: FAILS},
    "zero": {E.AGREES: REAL, E.LESS: REAL, E.MORE: FAILS, E.ROOM: OPEN, E.NONE: OPEN},
    "outage": {E.AGREES: REAL, E.LESS: FAILS, E.MORE: REAL, E.ROOM: OPEN, E.NONE: FAILS},
}
"""By rule and evidence: what becomes of a suspicion."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known beside the intervals. `contradictions` are (start_ms, other value) that came for an interval already held; `events`
    are the meter's; `verified` are starts of intervals a person has confirmed, which nothing is held against,
    `distrusted` of those that are to be estimated."""

    rules: RuleSet
    limit_w: int
    local: LocalTime
    register: Register = field(default_factory=Register)
    contradictions: tuple[tuple[int, int], ...] = ()
    direction: str = "import"
    events: tuple[Event, ...] = ()
    verified: frozenset[int] = frozenset()
    distrusted: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """`failed[i]` is 1 where an interval has to be estimated, missing ones included; `confirmed[i]` where it was strange and is real."""

    findings: tuple[Finding, ...]
    failed: bytes
    confirmed: bytes
    windows: tuple[Window, ...]


def judge(stretch: Stretch, known: Known, screen: Screen = screened) -> Judgement:
    """All findings against a stretch, and what follows from them for each interval."""
    stretch = with_outages(stretch, known.events)
    asked = asked_of(stretch.unit, known.direction, known.rules.off)
    found = [f for f in _found(stretch, known, screen) if f.rule in asked and not _is_verified(f, known, _starts_of(stretch, f))]
    failed = bytearray(stretch.present.translate(IS_MISSING))
    _mark(failed, stretch, known.distrusted)
    confirmed = bytearray(len(stretch))
    _mark(confirmed, stretch, known.verified)
    for finding in _with(found, Severity.FAILS):
        for i in _indices(stretch, finding):
            failed[i] = not confirmed[i]
    spans = windows(stretch, known.register, known.limit_w, known.rules)
    _weigh(stretch, known, _with(found, Severity.WEIGHED), spans, failed, confirmed)
    if "sum" in asked:
        found += [f for w in spans if (f := _sum(stretch, w, failed))]
    findings = sorted(found, key=lambda f: (f.start_ms, f.rule))
    return Judgement(tuple(findings), bytes(failed), _but(confirmed, failed), spans)


def _mark(marks: bytearray, stretch: Stretch, starts: Iterable[int]) -> None:
    """1 at each interval of the stretch that begins at one of `starts`."""
    for at_ms in starts:
        i = stretch.index_of(at_ms)
        if i is not None and i < len(marks):
            marks[i] = 1


def _but(marks: bytearray, others: bytearray) -> bytes:
    return bytes(m and not o for m, o in zip(marks, others, strict=True)) if 1 in marks else bytes(marks)


def _weigh(
    stretch: Stretch, known: Known, suspicions: Sequence[Finding], spans: Sequence[Window], failed: bytearray, confirmed: bytearray
) -> None:
    """What the register makes of each suspicion; it is asked before any of them is answered."""
    if not suspicions:
        return
    evidence = _evidence(stretch, spans, failed)
    become = {FAILS: failed, REAL: confirmed, OPEN: bytearray(len(stretch))}
    for finding in suspicions:
        for i in (i for i in _indices(stretch, finding) if stretch.start_of(i) not in known.verified):
            become[SUSPICIONS[finding.rule][evidence[i]]][i] = 1


def waits(judgement: Judgement, stretch: Stretch, finding: Finding) -> bool:
    """Whether a person has to look: the rule says so, or the register could not decide."""
    if finding.rule not in FOR_A_PERSON or BY_RULE[finding.rule].severity is Severity.PERSON:
        return finding.rule in FOR_A_PERSON
    return any(not judgement.failed[i] and not judgement.confirmed[i] for i in _indices(stretch, finding))


def _starts_of(stretch: Stretch, finding: Finding) -> range:
    return range(finding.start_ms, finding.end_ms, stretch.period_s * 1000)


def _is_verified(finding: Finding, known: Known, starts: range) -> bool:
    """A person has looked at all of it. What concerns several intervals is only left out where every one was confirmed."""
    return bool(known.verified) and finding.rule not in ("gap", "register") and known.verified.issuperset(starts)


def _with(found: Iterable[Finding], severity: Severity) -> list[Finding]:
    return [f for f in found if BY_RULE[f.rule].severity is severity]


def _found(stretch: Stretch, known: Known, screen: Screen) -> Iterator[Finding]:
    """What the rules find, but for the sums, which come after the others."""
    days = known.local.days(stretch)
    bits = screen(stretch, days, known.rules, known.limit_w, known.direction)
    yield from _of_stretch(stretch, known, reduce(or_, bits, 0))
    for (day, first, after), suspected in zip(days, bits, strict=True):
        if suspected & OF_A_DAY or known.contradictions:
            yield from _of_day(stretch.part(first, after), day, known)


def _of_stretch(stretch: Stretch, known: Known, suspected: int) -> Iterator[Finding]:
    """Rules that do not end at midnight."""
    if suspected & SCREEN_MARKED:
        yield from marked(stretch)
    if known.events:
        yield from of_the_moment(stretch, known.events)
        yield from meter_clock(stretch, known.events)
    if suspected & SCREEN_DARK_USE:
        yield from outage(stretch)
    if known.events:
        yield from idle_use(stretch, known.events, known.rules)
    if suspected & (SCREEN_STUCK | SCREEN_ZERO):
        yield from _standstills(stretch, known.rules)
    yield from unexplained(stretch, known.register, known.limit_w, known.rules)


def _standstills(stretch: Stretch, rules: RuleSet) -> Iterator[Finding]:
    """Zeros without power are as they should be."""
    return (f for f in standing_still(stretch, rules) if f.rule != "zero" or not all(dark(stretch, i) for i in _indices(stretch, f)))


def _of_day(part: Stretch, day: int, known: Known) -> Iterator[Finding]:
    block = DayBlock(0, day, part.start_ms, part.period_s, part.unit, part.values, part.quality, part.present)
    contradictions = tuple((at, v) for at, v in known.contradictions if block.start_ms <= at < block.end_ms)
    context = DayContext(known.rules, known.limit_w, contradictions, known.direction == "net")
    yield from (*gap(block, context), *limit(block, context), *spike(part, known.rules), *conflict(block, context))


def _indices(stretch: Stretch, finding: Finding) -> range:
    period_ms = stretch.period_s * 1000
    return range((finding.start_ms - stretch.start_ms) // period_ms, (finding.end_ms - stretch.start_ms) // period_ms)


def _evidence(stretch: Stretch, spans: Iterable[Window], failed: bytearray) -> list[Evidence]:
    said = [Evidence.NONE] * len(stretch)
    for window in spans:
        said[window.first : window.after] = [_says(stretch, window, failed)] * (window.after - window.first)
    return said


def _says(stretch: Stretch, window: Window, failed: bytearray) -> Evidence:
    left, holes = _left(stretch, window, failed)
    if left < -window.tolerance:
        return Evidence.LESS
    if holes:
        return Evidence.ROOM
    return Evidence.AGREES if left <= window.tolerance else Evidence.MORE


def _left(stretch: Stretch, window: Window, failed: bytearray) -> tuple[int, int]:
    """(what the register moved beyond the believed intervals, how many are not believed)"""
    values, doubts = stretch.values[window.first : window.after], failed[window.first : window.after]
    holes = sum(doubts)
    return window.moved - sum(compress(values, doubts.translate(IS_MISSING)) if holes else values), holes


def _sum(stretch: Stretch, window: Window, failed: bytearray) -> Finding | None:
    left, holes = _left(stretch, window, failed)
    if left >= -window.tolerance and (holes or left <= window.tolerance):
        return None
    said = f"the believed intervals sum to {window.moved - left} {stretch.unit}, the register moved by {window.moved}"
    text = f"{said}; {window.tolerance} would be allowed"
    return Finding("sum", 1, stretch.start_of(window.first), stretch.start_of(window.after), text, -left, window.tolerance)
