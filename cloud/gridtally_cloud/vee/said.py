"""What the meter and its concentrator say themselves of intervals: marks that came with them, and events (mdm.md B.2 rows 1 to 6, 10, 11).

* An event that concerns a moment concerns the interval that holds it. One that opens something (an outage, an open switch, a clock that is
  wrong) concerns all until the event that ends it; an outage nobody saw end is only believed where the intervals are marked.
* A clock too far off to be set fails everything since it was last known to be right, within what is looked at.
* Consequences are in vee/checks.py.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gridtally_cloud.vee.model import Finding, RuleSet, Stretch
from gridtally_shared.events import BY_NAME
from gridtally_shared.quality import Quality
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    code: int
    at_ms: int
    detail: str = ""


Span = tuple[int, int]


def _codes(*names: str) -> frozenset[int]:
    return frozenset(BY_NAME[name].code for name in names)


CLOCK_RIGHT = _codes("clock_set", "clock_corrected")
CLOCK_WRONG = _codes("clock_jump_needed", "clock_invalid")
OUTAGE = (_codes("power_failed", "last_gasp"), _codes("power_restored", "first_breath"))
OPEN_SWITCH = (_codes("supply_disconnected"), _codes("supply_connected"))
OF_THE_MOMENT = {
    "identity": _codes("serial_mismatch"),
    "device": _codes("metrology_failed", "memory_failed", "program_failed", "checksum_failed"),
    "device_warning": _codes("battery_low", "diagnostic_failed", "profile_disordered", "capture_period_changed"),
    "register": _codes("register_went_back", "register_jumped", "registers_inconsistent"),
}
TOLD = frozenset().union(CLOCK_RIGHT, CLOCK_WRONG, *OUTAGE, *OPEN_SWITCH, *OF_THE_MOMENT.values())
"""Codes of all events that a rule looks at."""
NAMES = {event.code: event.text for event in BY_NAME.values()}

MARKS = (
    ("reader_clock", int(Quality.CLOCK_UNCERTAIN), "the time of the interval is uncertain"),
    ("meter", int(Quality.METER_INVALID | Quality.RESET), "the meter marked the value as not valid"),
)


def marked(stretch: Stretch) -> Iterator[Finding]:
    """Marks that came with the intervals."""
    for i, flags in enumerate(stretch.quality):
        if flags and stretch.present[i]:
            for rule, mask, text in MARKS:
                if flags & mask:
                    yield Finding(rule, 1, stretch.start_of(i), stretch.start_of(i + 1), text, stretch.values[i])


def of_the_moment(stretch: Stretch, events: Iterable[Event]) -> Iterator[Finding]:
    """Events that concern the interval that holds them."""
    period_ms = stretch.period_s * 1000
    for event in events:
        for rule, codes in OF_THE_MOMENT.items():
            i = (event.at_ms - stretch.start_ms) // period_ms
            if event.code in codes and 0 <= i < len(stretch):
                text = f"{NAMES[event.code]}{': ' if event.detail else ''}{event.detail}"
                yield Finding(rule, 1, stretch.start_of(i), stretch.start_of(i + 1), text)


def meter_clock(stretch: Stretch, events: Sequence[Event]) -> Iterator[Finding]:
    """From when the clock was last right to when it was right again."""
    right = sorted(e.at_ms for e in events if e.code in CLOCK_RIGHT)
    spans = set()
    for wrong in (e for e in events if e.code in CLOCK_WRONG):
        since = max((at for at in right if at < wrong.at_ms), default=stretch.start_ms)
        until = min((at for at in right if at >= wrong.at_ms), default=stretch.start_of(len(stretch)))
        spans.add((since, until))
    for span in sorted(spans):
        first, after = _within(stretch, span, whole=False)
        if first < after:
            text = "the clock of the meter was too far off to be set, since it was last right"
            yield Finding("meter_clock", 1, stretch.start_of(first), stretch.start_of(after), text)


def with_outages(stretch: Stretch, events: Sequence[Event]) -> Stretch:
    """The stretch with the mark of an outage on every interval that lies wholly within one, and PARTIAL on those it cuts."""
    spans = list(_spans(events, OUTAGE))
    if not spans:
        return stretch
    quality = array("H", stretch.quality)
    for span in spans:
        first, after = _within(stretch, span, whole=True)
        for i in range(*_within(stretch, span, whole=False)):
            quality[i] |= Quality.POWER_FAIL if first <= i < after else Quality.POWER_FAIL | Quality.PARTIAL
    return replace(stretch, quality=quality)


def dark(stretch: Stretch, i: int) -> bool:
    """Wholly without power."""
    return bool(stretch.quality[i] & Quality.POWER_FAIL) and not stretch.quality[i] & Quality.PARTIAL


def outage(stretch: Stretch) -> Iterator[Finding]:
    """Use where there was no power. Zero there is as it should be."""
    for i, flags in enumerate(stretch.quality):
        if flags & Quality.POWER_FAIL and stretch.present[i] and stretch.values[i] > 0 and dark(stretch, i):
            text = f"{stretch.values[i]} {stretch.unit} in an interval wholly without power"
            yield Finding("outage", 1, stretch.start_of(i), stretch.start_of(i + 1), text, stretch.values[i], 0)


def idle_use(stretch: Stretch, events: Sequence[Event], rules: RuleSet) -> Iterator[Finding]:
    """Use behind an open switch, above what is allowed a day."""
    for span in _spans(events, OPEN_SWITCH, stretch.start_of(len(stretch))):
        first, after = _within(stretch, span, whole=True)
        used = sum(stretch.values[i] for i in range(first, after) if stretch.present[i])
        allowed = rules.idle_wh_per_day * max(1, -(-(after - first) * stretch.period_s // 86_400))
        if first < after and used > allowed:
            text = f"{used} {stretch.unit} while the supply was disconnected; {allowed} would be allowed"
            yield Finding("idle_use", 1, stretch.start_of(first), stretch.start_of(after), text, used, allowed)


def _spans(events: Sequence[Event], pair: tuple[frozenset[int], frozenset[int]], open_end_ms: int | None = None) -> Iterator[Span]:
    """Each from an opening event to the next closing one; an open end counts where one is given."""
    opened: int | None = None
    for event in sorted(events, key=lambda e: e.at_ms):
        if event.code in pair[0] and opened is None:
            opened = event.at_ms
        elif event.code in pair[1] and opened is not None:
            yield opened, event.at_ms
            opened = None
    if opened is not None and open_end_ms is not None:
        yield opened, open_end_ms


def _within(stretch: Stretch, span: Span, whole: bool) -> Span:
    """[first, after) of the intervals that lie wholly in a span, or that it touches."""
    period_ms, n = stretch.period_s * 1000, len(stretch)
    begin, end = span[0] - stretch.start_ms, span[1] - stretch.start_ms
    first, after = (-(-begin // period_ms), end // period_ms) if whole else (begin // period_ms, -(-end // period_ms))
    return min(max(first, 0), n), min(max(after, 0), n)
