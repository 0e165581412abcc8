"""Calendar documents: the zone rules, holidays and weather days of a region, as a cloud writes and an edge reads them.

* A person writes code, zone, holidays and announced weather; `canonical` adds the zone's changes of the years ahead.
* The version whose day came last holds, as with policies. An account whose calendar is not here, is not readable or is of another
  zone counts as protected (unknown means "stay on"); its local time is then what the box knows of the zone.

Source: prepayment.md 3.6, 5.5; safety.md 12.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any

from gridtally_shared.contract.messages import AccountConfig
from gridtally_shared.contract.prepay_messages import CalendarDocument
from gridtally_shared.errors import ConfigError
from gridtally_shared.prepay.zones import PinnedZone, ZoneRules, rules_of, zone_of
from gridtally_shared.records import dataclass
from gridtally_shared.tariff.forms import CODE, DAY, NAME, Field, Form, choice, listed, number, parsed, refuse, shaped

MOST_OFFSET_S = 86_400


@dataclass(frozen=True, slots=True)
class Region:
    """What an account's local time is, with its holidays (proleptic ordinals) and weather spans (ms). `known` False: the calendar
    the account names is not here; `zone` then is what this box knows, None where it knows nothing."""

    zone: tzinfo | None
    holidays: frozenset[int] = frozenset()
    weather: tuple[tuple[int, int], ...] = ()
    known: bool = True

    def is_dangerous(self, from_ms: int, to_ms: int) -> bool:
        """Whether weather was announced for some moment of the interval, both ends included."""
        return any(first_ms <= to_ms and from_ms < until_ms for first_ms, until_ms in self.weather)


@dataclass(frozen=True, slots=True)
class RegionCalendar:
    """A document as it is read. `rules` is None in the form a person writes."""

    code: str
    zone: str
    name: str
    holidays: frozenset[int]
    weather: tuple[tuple[int, int], ...]
    rules: ZoneRules | None

    def region(self) -> Region:
        zone = PinnedZone(self.zone, self.rules) if self.rules else zone_of(self.zone)
        return Region(zone, self.holidays, self.weather, zone is not None)


def _moment(value: Any, path: str) -> int:
    remedy = 'write date, time and offset, such as "2026-05-20T06:00+05:30"'
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise refuse(path, value, remedy)
    return int(moment.astimezone(UTC).timestamp()) * 1000


def _zone(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 64:
        raise refuse(path, value, 'write the name of a time zone, such as "Asia/Kolkata"')
    return value


def _span(first: int, until: int) -> tuple[int, int]:
    return first, until


def _calendar(kind: str, holidays: tuple[int, ...], **rest: Any) -> RegionCalendar:
    return RegionCalendar(holidays=frozenset(holidays), **rest)


MOMENT = Form(_moment, {"type": "string", "format": "date-time"})
OFFSET, SECOND = number(-MOST_OFFSET_S, MOST_OFFSET_S), number(-(2**40), 2**40)
CHANGE = shaped(lambda at, offset: (at, offset), [Field("at", SECOND), Field("offset", OFFSET)])
RULES = shaped(lambda first, changes, until: ZoneRules(first, changes, until), [
    Field("first", OFFSET), Field("changes", listed(CHANGE)), Field("until", SECOND),
])  # fmt: skip
CALENDAR = shaped(_calendar, [
    Field("kind", choice({"calendar": "calendar"})), Field("code", CODE), Field("name", NAME, ""),
    Field("zone", Form(_zone, {"type": "string"})),
    Field("holidays", listed(shaped(lambda date, name: date, [Field("date", DAY), Field("name", NAME, "")])), ()),
    Field("weather", listed(shaped(_span, [Field("from", MOMENT), Field("to", MOMENT)])), (), "announced dangerous weather"),
    Field("rules", RULES, None, "made by the programme: the changes of the zone's clock"),
])  # fmt: skip


def calendar_from(text: str) -> RegionCalendar:
    """Raises ConfigError with the path and what to write there."""
    read: RegionCalendar = CALENDAR.read(parsed(text, "calendar"), "")
    for place, (first_ms, until_ms) in enumerate(read.weather):
        if until_ms <= first_ms:
            raise refuse(f"weather[{place}].to", until_ms, "write an end after the start")
    times = [at_s for at_s, _ in read.rules.changes] if read.rules else []
    if times != sorted(set(times)):
        raise refuse("rules.changes", "", "changes go forward in time")
    return read


def canonical(text: str, from_ms: int) -> str:
    """The text as it travels, with the zone rules this machine knows for the years around `from_ms`. Raises ConfigError."""
    read = calendar_from(text)
    try:
        rules = rules_of(read.zone, from_ms)
    except ValueError as error:
        raise refuse("zone", read.zone, f"{error}; write a name such as \"Asia/Kolkata\"") from None
    changes = [{"at": at_s, "offset": offset_s} for at_s, offset_s in rules.changes]
    body = json.loads(text) | {"rules": {"first": rules.first_s, "changes": changes, "until": rules.until_s}}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def region_of(account: AccountConfig, documents: tuple[CalendarDocument, ...], now_ms: int) -> Region:
    """The local time of an account now."""
    if not account.calendar_id:
        return _own(account.zone, True)
    document = active(account.calendar_id, documents, now_ms)
    read = _read(document.document) if document is not None else None
    return read[1] if read is not None and read[0] == account.zone else _own(account.zone, False)


def active(calendar_id: str, documents: tuple[CalendarDocument, ...], now_ms: int) -> CalendarDocument | None:
    """The version in force: the highest of those that have begun, None before the first."""
    begun = (d for d in documents if d.calendar_id == calendar_id and d.from_ms <= now_ms)
    return max(begun, key=lambda d: d.version, default=None)


@lru_cache(maxsize=64)
def _own(name: str, known: bool) -> Region:
    return Region(zone_of(name), known=known)


@lru_cache(maxsize=64)
def _read(text: str) -> tuple[str, Region] | None:
    try:
        read = calendar_from(text)
    except ConfigError:
        return None
    return read.zone, read.region()
