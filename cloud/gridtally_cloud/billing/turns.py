"""A register that went back: it came to its end and began at 0 again, or a person says how far it was set back. Pure.

* Its end is on record for the meter, or told by the device that read it, or by the intervals measured meanwhile: then only one end of
  digits (a power of ten) or of a counter (2 to the 32) makes the same energy.
* Nothing else explains it: a number misread by a digit looks the same. Then nothing is billed by it until a person settled it
  (`register_desk.py`).
* What moved over the end is end - before + after, to the watt-hour; the intervals only say that it was so.

Source: mdm.md B.2 row 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from gridtally_cloud.billing.model import Turn
from gridtally_shared.records import dataclass

NEAR_TOP_PERCENT, NEAR_BOTTOM_PERCENT = 95, 5
STEPS, PERMILLE = 2, 2


class How(StrEnum):
    """How a turn is known. Values are on bills: never renamed."""

    METER = "meter"
    CONCENTRATOR = "concentrator"
    INTERVALS = "intervals"
    DESK = "desk"


@dataclass(frozen=True, slots=True)
class Read:
    """A register as it was shown; `marked`: whoever read it saw it roll over. `turn`: what it is known to be behind, of a read that was
    estimated between two others."""

    at_ms: int
    value: int
    marked: bool = False
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Between:
    """What intervals say of the time between two reads: `wh` were measured, `slack` is how far that can be wrong beside their edges, and
    up to `more_wh` can have been used where they are estimated."""

    wh: int
    slack: int = 0
    more_wh: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What else is known of a fall: the end on record (0: none), ends it could have, what can have been used, what the intervals say."""

    end_wh: int
    ends: Sequence[int]
    most_wh: int
    between: Between | None = None


def rolled(before: Read, now: Read, known: Known) -> Turn | None:
    """The turn that explains why `now` shows less than `before`; None where nothing does."""
    found = _of_record(before, now, known) or _marked(before, now, known) or _measured(before, now, known)
    if found is None:
        return None
    how, end_wh = found
    return Turn(now.at_ms, how.value, before.value, now.value, _over(before.value, now.value, end_wh), end_wh, before.at_ms)


def _over(before_wh: int, now_wh: int, end_wh: int) -> int:
    return (now_wh - before_wh) % end_wh


def _of_record(before: Read, now: Read, known: Known) -> tuple[How, int] | None:
    """A smaller number than one shown can not be the end of it."""
    end_wh = known.end_wh
    fits = end_wh > now.value and _over(before.value, now.value, end_wh) <= known.most_wh
    return (How.METER, end_wh) if fits else None


def _marked(before: Read, now: Read, known: Known) -> tuple[How, int] | None:
    if now.turn is not None and now.turn.end_wh:
        return How(now.turn.how), now.turn.end_wh
    if not now.marked or known.end_wh:
        return None
    for end_wh in known.ends:
        near = before.value * 100 >= end_wh * NEAR_TOP_PERCENT and now.value * 100 <= end_wh * NEAR_BOTTOM_PERCENT
        if before.value < end_wh and near and _over(before.value, now.value, end_wh) <= known.most_wh:
            return How.CONCENTRATOR, end_wh
    return None


def _measured(before: Read, now: Read, known: Known) -> tuple[How, int] | None:
    between = known.between
    if between is None or known.end_wh:
        return None
    for end_wh in (end for end in known.ends if end > before.value):
        moved = _over(before.value, now.value, end_wh)
        near = max(STEPS, moved * PERMILLE // 1000) + between.slack
        if between.wh - near <= moved <= between.wh + between.more_wh + near and moved <= known.most_wh:
            return How.INTERVALS, end_wh
    return None
