"""What the forecast was taught, as data: `parameters.json`, written by `make forecast-report ARGS=--write`.

* `margin_permille` is how many deviations the cautious path lies above the central one; the shape of a deviation is
  `hours_permille` x (sum of hourly variances) + `days_permille` x (daily deviation)^2 x days^1.5 + `level_permille` x (use so far)^2,
  the last one wider by `young_permille` / (1 + days of history).
* `class_shape_permille` is the hour-of-day shape of the households learnt from, 1000 the mean: for a household nobody knows yet.
* `made` tells from what and how they were learnt, and what was left open.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

HOURS = 24


@dataclass(frozen=True, slots=True)
class Parameters:
    margin_permille: int
    hours_permille: int
    days_permille: int
    level_permille: int
    young_permille: int
    class_shape_permille: tuple[int, ...]
    made: str = ""


@cache
def learnt() -> Parameters:
    """The parameters shipped with this version."""
    return parameters_from(Path(__file__).with_name("parameters.json").read_text(encoding="utf-8"))


def parameters_from(text: str) -> Parameters:
    """Read a document of parameters. Raises ConfigError."""
    try:
        body = json.loads(text)
        read = Parameters(**{**body, "class_shape_permille": tuple(body["class_shape_permille"])})
        numbers = (read.margin_permille, read.hours_permille, read.days_permille, read.level_permille, read.young_permille)
        if len(read.class_shape_permille) != HOURS or min(*numbers, *read.class_shape_permille) < 0 or sum(read.class_shape_permille) <= 0:
            raise ValueError("24 hours of shape and no negative number are needed")
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError("forecast parameters", str(error), "write them anew with make forecast-report ARGS=--write") from None
    return read
