"""Dates as people write them, as ISO 8601. 01/02/2007 says nothing without the order of day and month: it has to be told.

`order` is "dmy", "mdy" or empty; a year in front needs none.
"""

from __future__ import annotations

import re

_DATE = re.compile(r"^(\d{1,4})[/.-](\d{1,2})[/.-](\d{1,4})(?:[ T]+(\S.*))?$")
_TIME = re.compile(r"^(\d{1,2}):(\d{2})(:\d{2})?(?:\s*([AaPp])\.?[Mm]\.?)?$")
ORDERS = ("dmy", "mdy")


def iso(text: str, order: str = "") -> str:
    """The same time for `datetime.fromisoformat`; what is none of these is given back as it is. Raises ValueError."""
    found = _DATE.match(text)
    if found is None:
        return text
    first, second, third, rest = found.groups()
    if len(first) == 4:
        year, month, day = first, second, third
    elif not order:
        raise ValueError(f"is the day {first} or {second}? say --dates dmy or --dates mdy")
    else:
        day, month = (first, second) if order == "dmy" else (second, first)
        year = third if len(third) == 4 else f"20{third:0>2}"
    return f"{year}-{month:0>2}-{day:0>2}{_clock(rest) if rest else ''}"


def _clock(text: str) -> str:
    found = _TIME.match(text)
    if found is None:
        return f"T{text}"
    hour, minute, second, half = found.groups()
    number = int(hour)
    if half:
        if not 1 <= number <= 12:
            raise ValueError("this is not a time: with AM and PM the hours are 1 to 12")
        number = number % 12 + (12 if half in "pP" else 0)
    return f"T{number:02}:{minute}{second or ''}"
