"""Values an IS 15959 meter sends unasked, read by the port that knows the meter: its layouts, its scalers, its counters.

* What stands in a push is told by its set-up's object list (class 40, attribute 2). The list is read in the poll after the
  first push of that set-up; until then, and where list and payload do not fit, the push tells events and a sign of life.
* A profile in the list gives its rows as a poll would give them. Single objects are momentary values, with the scaler of the
  profiles or their own; a single object of a block carries no stamp of its block and is left out.
* Momentary values are of the push's clock; a clock ahead of ours is not believed, the values are then of the moment they came.
* The invocation counter of a ciphered push must rise, by sender, key and set-up, and is kept over restarts: what was heard
  before, or before what was heard, says nothing. Pushes have channels of their own: an answer may overtake one.

Source: protocols.md 6.5; IEC 62056-6-2 class 40; IEC 62056-5-3, 5.3.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from typing import Final

from gridtally_edge.drivers.dlms_table import Cell, TableRow, columns_of, quantity_cells
from gridtally_edge.drivers.is15959_config import Is15959Settings
from gridtally_edge.drivers.is15959_profiles import BILLING, BLOCK_LOAD, DAILY, INSTANT, ProfileObject, Profiles
from gridtally_edge.drivers.is15959_push import HEAD, OpenedPush, opened_push, pushed_of
from gridtally_edge.drivers.is15959_session import Session
from gridtally_edge.drivers.model import Pushed, Reading
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute
from gridtally_edge.protocols.dlms.axdr import Data, Tag
from gridtally_edge.protocols.dlms.client import AccessDenied
from gridtally_edge.protocols.dlms.cosem_time import ClockRule
from gridtally_edge.protocols.dlms.counters import Counters, channel_name
from gridtally_edge.protocols.dlms.scaling import ScalerUnit, scaler_unit_of
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_OBIS, Kind
from gridtally_shared.records import dataclass

PROFILES: Final = {profile.obis: profile for profile in (INSTANT, BLOCK_LOAD, DAILY, BILLING)}
CLOCK_AHEAD_MS: Final = 120_000
_PUSH_CLASS, _PROFILE_CLASS, _SCALED_CLASSES = 40, 7, (3, 4)
_MOST_SETUPS: Final = 16
_DOMAIN: Final = b"push"


@dataclass(slots=True)
class PushedValues:
    """The pushes of one meter. `hears` may be called from another thread than the conversations of the same port."""

    settings: Is15959Settings
    rule: ClockRule
    session: Session
    profiles: Profiles
    counters: Counters
    _lists: dict[Obis, tuple[Attribute, ...]] = field(default_factory=dict, init=False)
    _wanted: set[Obis] = field(default_factory=set, init=False)
    _scalers: dict[Obis, ScalerUnit] = field(default_factory=dict, init=False)

    def hears(self, octets: bytes, at_ms: int) -> Pushed | None:
        """A push of this meter with all that is known of it; None for another message. Raises MeterFault for a spoilt one."""
        opened = opened_push(self.settings, octets)
        if opened is None:
            return None
        pushed = pushed_of(opened.payload, self.rule, at_ms)
        if self._is_replay(opened, pushed):
            return replace(pushed, events=(), replayed=True)
        objects = self._objects_of(Obis.of(pushed.setup))
        items = axdr.items_of(opened.payload)
        if len(objects) != len(items):
            return pushed
        try:
            return self._with_values(pushed, tuple(zip(objects, items, strict=True))[HEAD:], at_ms)
        except MeterFault:
            return pushed

    def learn(self) -> Conversation[None]:
        """Read what stands in the pushes that came meanwhile."""
        for setup in tuple(self._wanted):
            objects: tuple[Attribute, ...] = ()
            try:
                objects = columns_of((yield from self.session.get(Attribute(_PUSH_CLASS, setup, 2))))
                for item in objects:
                    yield from self._learn_object(item)
            except MeterFault:
                objects = ()
            self._lists[setup] = objects
            self._wanted.discard(setup)

    def _learn_object(self, item: Attribute) -> Conversation[None]:
        profile = _profile_in(item)
        try:
            if profile is not None:
                yield from self.profiles.learn(profile)
            elif item.class_id in _SCALED_CLASSES and item.obis in BY_OBIS and item.obis not in self._known_scalers():
                own = yield from self.session.get(Attribute(item.class_id, item.obis, 3))
                self._scalers[item.obis] = scaler_unit_of(own)
        except AccessDenied:
            return

    def _is_replay(self, opened: OpenedPush, pushed: Pushed) -> bool:
        if opened.counter is None:
            return False
        sender = _DOMAIN + opened.title + Obis.of(pushed.setup).value
        return not self.counters.hear(channel_name(sender, self.settings.key), opened.counter)

    def _objects_of(self, setup: Obis) -> tuple[Attribute, ...]:
        if setup not in self._lists and len(self._wanted) + len(self._lists) < _MOST_SETUPS:
            self._wanted.add(setup)
        return self._lists.get(setup, ())

    def _with_values(self, pushed: Pushed, pairs: tuple[tuple[Attribute, Data], ...], at_ms: int) -> Pushed:
        moment_ms, doubt = _moment(pushed.clock_ms, at_ms)
        rows: dict[Obis, tuple[Reading, ...]] = {}
        for item, data in pairs:
            profile = _profile_in(item)
            layout = self.profiles.known(profile) if profile else None
            if profile and layout:
                rows[profile.obis] = self.profiles.pushed(profile, layout, _as_buffer(data), moment_ms)
        momentary = (*rows.get(INSTANT.obis, ()), *self._singles(pairs, moment_ms))
        return replace(
            pushed,
            readings=tuple(replace(r, quality=r.quality | doubt) for r in momentary),
            intervals=rows.get(BLOCK_LOAD.obis, ()),
            daily=rows.get(DAILY.obis, ()),
            billing=rows.get(BILLING.obis, ()),
        )

    def _singles(self, pairs: tuple[tuple[Attribute, Data], ...], at_ms: int) -> Iterator[Reading]:
        row = TableRow(at_ms, False, tuple(Cell(item, data) for item, data in pairs if item.class_id != _PROFILE_CLASS))
        for quantity, value in quantity_cells(row, self._known_scalers()):
            if quantity.kind is not Kind.INTERVAL:
                yield Reading(quantity.code, at_ms, value)

    def _known_scalers(self) -> dict[Obis, ScalerUnit]:
        known = dict(self._scalers)
        for profile in PROFILES.values():
            layout = self.profiles.known(profile)
            known |= layout.scalers if layout else {}
        return known


def _profile_in(item: Attribute) -> ProfileObject | None:
    return PROFILES.get(item.obis) if (item.class_id, item.index) == (_PROFILE_CLASS, 2) else None


def _as_buffer(data: Data) -> Data:
    """One row may come without the array around it."""
    return axdr.array(data) if data.tag is Tag.STRUCTURE else data


def _moment(clock_ms: int | None, at_ms: int) -> tuple[int, int]:
    """The moment of momentary values, and the flag of a clock that runs ahead."""
    if clock_ms is None or clock_ms > at_ms:
        ahead = clock_ms is not None and clock_ms - at_ms > CLOCK_AHEAD_MS
        return at_ms, int(Quality.CLOCK_UNCERTAIN) if ahead else 0
    return clock_ms, 0
