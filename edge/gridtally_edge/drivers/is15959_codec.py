"""Settings of an IS 15959 meter as COSEM data, both ways: calendars, special days, billing date, limits, pushes.

* Reading takes what meters send (wildcards, any order) and raises MeterFault for what means nothing.
* A season starts at midnight of its day every year; a day action names script 1..8 of 0.0.10.0.100, the rate.

Source: IEC 62056-6-2 classes 20, 11, 22, 71 and 40; IS 15959 part 2.
"""

from __future__ import annotations

from typing import Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.axdr import Data, Tag, array, octet_string, structure
from gridtally_edge.protocols.dlms.cosem_time import ClockRule, datetime_octets, decode_datetime
from gridtally_shared.errors import MeterFault
from gridtally_shared.meter_settings import DayAction, DayProfile, Season, SpecialDay, WeekProfile
from gridtally_shared.obis import Obis

TARIFF_SCRIPTS: Final = Obis.of("0.0.10.0.100.255")
ANY: Final = 0xFF
ANY_YEAR: Final = 0xFFFF
UNSPECIFIED_TIME: Final = bytes.fromhex("ffffffffffffffffff800000")
_SEASON_TAIL: Final = bytes.fromhex("ff000000ff800000")
_MINUTES: Final = 1_440


def parts_of(data: Data, count: int, what: str) -> tuple[Data, ...]:
    """The items of a structure. Raises MeterFault for another number of them."""
    parts = axdr.items_of(data)
    if len(parts) != count:
        raise MeterFault(f"{what} has {count} parts, not {len(parts)}")
    return parts


def _octets(data: Data, count: int, what: str) -> bytes:
    octets = axdr.octets_of(data)
    if len(octets) != count:
        raise MeterFault(f"{what} has {count} octets, not {len(octets)}")
    return octets


def name_data(name: str) -> Data:
    return octet_string(name.encode())


def name_of(data: Data) -> str:
    return axdr.text_of(data)


def seasons_data(seasons: tuple[Season, ...]) -> Data:
    return array(*(_season_data(season) for season in seasons))


def _season_data(season: Season) -> Data:
    start = b"\xff\xff" + bytes((season.month, season.day)) + _SEASON_TAIL
    return structure(name_data(season.name), octet_string(start), name_data(season.week))


def seasons_of(data: Data) -> tuple[Season, ...]:
    """Raises MeterFault."""
    seasons = []
    for item in axdr.items_of(data):
        name, start, week = parts_of(item, 3, "a season")
        time = decode_datetime(axdr.octets_of(start))
        if not (1 <= time.month <= 12 and 1 <= time.day <= 31):
            raise MeterFault(f"a season cannot start on day {time.day} of month {time.month}")
        seasons.append(Season(name_of(name), time.month, time.day, name_of(week)))
    return tuple(seasons)


def weeks_data(weeks: tuple[WeekProfile, ...]) -> Data:
    return array(*(structure(name_data(week.name), *(Data(Tag.UINT8, day) for day in week.days)) for week in weeks))


def weeks_of(data: Data) -> tuple[WeekProfile, ...]:
    """Raises MeterFault."""
    weeks = []
    for item in axdr.items_of(data):
        name, *days = parts_of(item, 8, "a week")
        weeks.append(WeekProfile(name_of(name), tuple(axdr.integer_of(day) for day in days)))
    return tuple(weeks)


def days_data(days: tuple[DayProfile, ...]) -> Data:
    return array(*(structure(Data(Tag.UINT8, day.day_id), array(*map(_action_data, day.actions))) for day in days))


def _action_data(action: DayAction) -> Data:
    return structure(time_data(action.minute), octet_string(TARIFF_SCRIPTS.value), Data(Tag.UINT16, action.rate))


def days_of(data: Data) -> tuple[DayProfile, ...]:
    """Raises MeterFault."""
    days = []
    for item in axdr.items_of(data):
        day_id, actions = parts_of(item, 2, "a day")
        days.append(DayProfile(axdr.integer_of(day_id), tuple(map(_action_of, axdr.items_of(actions)))))
    return tuple(days)


def _action_of(data: Data) -> DayAction:
    start, _, rate = parts_of(data, 3, "a day action")
    return DayAction(minute_of(start), axdr.integer_of(rate))


def time_data(minute: int) -> Data:
    return octet_string(bytes((minute // 60, minute % 60, 0, 0)))


def minute_of(data: Data) -> int:
    """Minute of the day of a COSEM time; wildcards count as zero. Raises MeterFault."""
    hour, minute, _, _ = _octets(data, 4, "a time")
    found = (0 if hour == ANY else hour * 60) + (0 if minute == ANY else minute)
    if found >= _MINUTES:
        raise MeterFault(f"{hour}:{minute} is no time of day")
    return found


def special_days_data(days: tuple[SpecialDay, ...]) -> Data:
    return array(*(_special_day_data(index, day) for index, day in enumerate(days, 1)))


def _special_day_data(index: int, day: SpecialDay) -> Data:
    date = (day.year or ANY_YEAR).to_bytes(2, "big") + bytes((day.month, day.day, ANY))
    return structure(Data(Tag.UINT16, index), octet_string(date), Data(Tag.UINT8, day.day_id))


def special_days_of(data: Data) -> tuple[SpecialDay, ...]:
    """Raises MeterFault."""
    days = []
    for item in axdr.items_of(data):
        _, date, day_id = parts_of(item, 3, "a special day")
        octets = _octets(date, 5, "a date")
        year = int.from_bytes(octets[:2], "big")
        days.append(SpecialDay(0 if year == ANY_YEAR else year, octets[2], octets[3], axdr.integer_of(day_id)))
    return tuple(days)


def moment_data(at_ms: int, rule: ClockRule) -> Data:
    """A date-time; 0 is "not specified"."""
    return octet_string(datetime_octets(at_ms, rule) if at_ms else UNSPECIFIED_TIME)


def moment_of(data: Data, rule: ClockRule) -> int:
    """UTC in milliseconds, 0 where the meter has no whole moment there. Raises MeterFault for another length."""
    try:
        return decode_datetime(_octets(data, 12, "a date-time")).utc_ms(rule)
    except MeterFault:
        return 0


def monthly_data(day: int, minute: int) -> Data:
    """Execution time of a single action schedule: this day of every month."""
    return array(structure(time_data(minute), octet_string(b"\xff\xff\xff" + bytes((day, ANY)))))


def monthly_of(data: Data) -> tuple[int, int]:
    """Day of month and minute of day. Raises MeterFault for a schedule of another kind."""
    entries = axdr.items_of(data)
    if len(entries) != 1:
        raise MeterFault(f"a billing date has one entry, not {len(entries)}")
    time, date = parts_of(entries[0], 2, "an execution time")
    return _octets(date, 5, "a date")[3], minute_of(time)


def every_data(every_s: int) -> Data:
    """Execution times of a schedule that runs every so many seconds, which must divide an hour or a day. Raises ValueError."""
    every_min, rest = divmod(every_s, 60)
    if rest or (every_min and (60 % every_min and (every_min % 60 or 24 % (every_min // 60)))):
        raise ValueError(f"a schedule cannot run every {every_s} s: choose a part of an hour or of a day")
    if not every_min:
        return array()
    daily = b"\xff" * 5
    if every_min < 60:
        times = [bytes((ANY, minute, 0, 0)) for minute in range(0, 60, every_min)]
    else:
        times = [bytes((hour, 0, 0, 0)) for hour in range(0, 24, every_min // 60)]
    return array(*(structure(octet_string(time), octet_string(daily)) for time in times))


def every_of(data: Data) -> int:
    """Period of a schedule in seconds, 0 where it never runs. Raises MeterFault."""
    times = [_octets(parts_of(item, 2, "an execution time")[0], 4, "a time") for item in axdr.items_of(data)]
    if not times:
        return 0
    whole_s = 3_600 if times[0][0] == ANY else 86_400
    return whole_s // len(times)
