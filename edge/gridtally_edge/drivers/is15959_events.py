"""The event logs of an IS 15959 meter, read for what is new and no more.

* One exchange asks the seven sequence numbers 0.0.96.15.e, the entries in use, and the capture period of the load
  profile. Only logs that moved since this port last read them are read.
* Nothing is lost: a log is answered from memory only where its number and entries stand still and the question reaches
  no further back than the last one; where a number moved by more than the new rows show (a clock set back, rows of
  one moment), the whole log is read. What this port handed out it hands out again until the question moves on.
* A log without a number is always read. A port that has just been made knows no marks and reads what is later.
* Snapshots (V, A, PF, Wh) go to `detail` as name=value, scaled by the scaler profile of the logs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gridtally_edge.drivers.dlms_table import TableRow, table_rows
from gridtally_edge.drivers.is15959_profiles import BLOCK_LOAD, Profiles
from gridtally_edge.drivers.is15959_session import Session
from gridtally_edge.drivers.model import MeterEvent
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, Result, attribute
from gridtally_edge.protocols.dlms.axdr import Bits, Data, Tag
from gridtally_edge.protocols.dlms.client import AccessDenied
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.scaling import ScalerUnit, scaled
from gridtally_shared.errors import MeterFault
from gridtally_shared.events import STATUS_BITS
from gridtally_shared.obis import Obis
from gridtally_shared.records import dataclass

LOGS: Final = tuple(Obis.of(f"0.0.99.98.{log}.255") for log in range(7))
SEQUENCES: Final = tuple(attribute(1, f"0.0.96.15.{log}.255", 2) for log in range(7))
STATUS_WORD: Final = attribute(1, "0.0.94.91.18.255", 2)
_ENTRIES: Final = tuple(Attribute(7, log, 7) for log in LOGS)
_PERIOD: Final = BLOCK_LOAD.attribute(4)
_EVENT_CODE_GROUP: Final = (0, 0, 96, 11)
_LAST_MS: Final = 4_102_444_799_000
_WRAP: Final = 1 << 16
_SNAPSHOT: Final = {
    "1.0.12.7.0.255": "v", "1.0.32.7.0.255": "v1", "1.0.52.7.0.255": "v2", "1.0.72.7.0.255": "v3",
    "1.0.11.7.0.255": "i", "1.0.91.7.0.255": "in", "1.0.31.7.0.255": "i1", "1.0.51.7.0.255": "i2", "1.0.71.7.0.255": "i3",
    "1.0.13.7.0.255": "pf", "1.0.33.7.0.255": "pf1", "1.0.53.7.0.255": "pf2", "1.0.73.7.0.255": "pf3",
    "1.0.1.8.0.255": "wh", "1.0.2.8.0.255": "wh_out",
}  # fmt: skip
_SNAPSHOT_NAMES: Final = {Obis.of(obis): name for obis, name in _SNAPSHOT.items()}


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a log stands: its sequence number and its entries in use, None where the meter does not tell."""

    sequence: int | None
    entries: int | None

    @property
    def tells(self) -> bool:
        return self.sequence is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """A log as it was read last: its mark then, how far back was asked, and what came."""

    mark: Mark
    after_ms: int
    events: tuple[MeterEvent, ...]

    def since(self, after_ms: int) -> tuple[MeterEvent, ...]:
        """What came, once more; without what is over by now, where the question has moved on."""
        moved = after_ms > self.after_ms
        return tuple(event for event in self.events if not moved or event.at_ms > after_ms)


class EventLogs:
    """The logs of one meter."""

    def __init__(self, session: Session, profiles: Profiles, rule: ClockRule) -> None:
        self._session, self._profiles, self._rule = session, profiles, rule
        self._seen: dict[Obis, Seen] = {}
        self._absent: set[Obis] = set()

    def read(self, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        """Entries later than `after_ms`, and those the meter wrote since the last reading, oldest first."""
        marks = yield from self._marks()
        events: list[MeterEvent] = []
        for log in LOGS:
            if log not in self._absent:
                events += yield from self._read_log(log, marks[log], after_ms)
        return tuple(sorted(events, key=lambda event: event.at_ms))

    def read_status(self, at_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        """The bits that are set in the status word, as events at `at_ms`. Raises AccessDenied where there is none."""
        return status_events((yield from self._session.get(STATUS_WORD)), at_ms)

    def _marks(self) -> Conversation[dict[Obis, Mark]]:
        """Without lists the marks would cost more than the logs."""
        if not self._session.has_lists():
            return dict.fromkeys(LOGS, Mark(None, None))
        outcomes = yield from self._session.get_all((*SEQUENCES, *_ENTRIES, _PERIOD))
        numbers = [None if isinstance(o, Result) else axdr.integer_of(o) for o in outcomes]
        self._profiles.take_period(numbers[-1] or 0)
        return {log: Mark(numbers[at], numbers[at + len(LOGS)]) for at, log in enumerate(LOGS)}

    def _read_log(self, log: Obis, mark: Mark, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        seen = self._seen.get(log)
        if seen and mark.tells and mark == seen.mark and after_ms >= seen.after_ms:
            return seen.since(after_ms)
        try:
            events = yield from self._fresh(log, mark, after_ms, seen)
        except AccessDenied as denied:
            if not denied.undefined:
                raise
            self._absent.add(log)
            return ()
        self._seen[log] = Seen(mark, after_ms, events)
        return events

    def _fresh(self, log: Obis, mark: Mark, after_ms: int, seen: Seen | None) -> Conversation[tuple[MeterEvent, ...]]:
        events = yield from self._rows(log, after_ms)
        if seen is None:
            return events
        known = seen.since(after_ms)
        moved = self._moved_by(mark, seen)
        if moved > len([event for event in events if event not in known]):
            events = (*events, *(yield from self._rows(log, 0))[-moved:])
        return tuple(dict.fromkeys((*known, *events)))

    def _moved_by(self, mark: Mark, seen: Seen | None) -> int:
        if seen is None or mark.sequence is None or seen.mark.sequence is None:
            return 0
        return (mark.sequence - seen.mark.sequence) % _WRAP

    def _rows(self, log: Obis, after_ms: int) -> Conversation[tuple[MeterEvent, ...]]:
        """In the order of the log, those later than `after_ms` (0: all)."""
        layout = yield from self._profiles.log_layout(log)
        buffer = yield from self._profiles.span(log, after_ms, _LAST_MS, 0)
        rows = table_rows(layout.columns, buffer, self._rule, 0)
        found = tuple(event for row in rows if (event := event_of(row, layout.scalers)))
        return tuple(event for event in found if event.at_ms > after_ms)


def event_of(row: TableRow, scalers: Mapping[Obis, ScalerUnit]) -> MeterEvent | None:
    """The event of a row; None for a row without code or whole time."""
    for cell in row.cells:
        if tuple(cell.column.obis.value[:4]) == _EVENT_CODE_GROUP and row.at_ms is not None and cell.data.tag is not Tag.NULL:
            return MeterEvent(axdr.integer_of(cell.data), row.at_ms, _snapshot(row, scalers))
    return None


def _snapshot(row: TableRow, scalers: Mapping[Obis, ScalerUnit]) -> str:
    texts = []
    for cell in row.cells:
        name, scaling = _SNAPSHOT_NAMES.get(cell.column.obis), scalers.get(cell.column.obis)
        if name and scaling and cell.data.tag is not Tag.NULL:
            texts.append(f"{name}={scaled(cell.data, scaling.scaler)}")
    return " ".join(texts)


def status_events(word: Data, at_ms: int) -> tuple[MeterEvent, ...]:
    """The events whose bits are set; a bit nobody named is passed over. Raises MeterFault for another type."""
    return tuple(MeterEvent(STATUS_BITS[bit].code, at_ms, f"bit={bit}") for bit in status_bits(word) if bit in STATUS_BITS)


def status_bits(word: Data) -> Iterable[int]:
    bits = word.value
    if not isinstance(bits, Bits):
        raise MeterFault("the status word is a bit string")
    return [bit for bit in range(bits.count) if bits.octets[bit // 8] >> (7 - bit % 8) & 1]
