"""When a meter's clock is set, and when it is left to a person. Pure.

* Only a clock that is TRUSTED sets others (safety.md 12); within the tolerance nothing is done.
* A correction never closes, skips or halves an interval: the meter's old and new time lie in the same interval, both in
  its first half, just after the boundary. A meter that is slow can be set at once there; one that is fast only when as
  much of the interval has passed as it is fast.
* Larger than `largest_ms` is no drift but an accident (a dead battery, a wrong zone): flagged once, set only by command.
* `step_ms` walks a clock there in steps of at most so much; 0 sets it at once.
* After `tries` refusals the failure is an event (I2FR6); it is then tried at each clock check only.
"""

from __future__ import annotations

from enum import Enum

from gridtally_shared.contract.messages import ClockState
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    tolerance_ms: int = 10_000
    largest_ms: int = 300_000
    step_ms: int = 0
    tries: int = 3
    margin_ms: int = 2_000


DEFAULT = SyncPolicy()
MEASURED_MS = 1_000
"""A meter's clock counts whole seconds, so an offset is not known better."""


class Verdict(Enum):
    FINE = "fine"
    SET = "set"
    FLAG = "flag"
    WAIT_FOR_TRUST = "wait for trust"


def verdict(offset_ms: int, clock: ClockState, policy: SyncPolicy = DEFAULT) -> Verdict:
    """What is due for a meter whose clock is `offset_ms` ahead of ours."""
    if abs(offset_ms) <= policy.tolerance_ms:
        return Verdict.FINE
    if clock is not ClockState.TRUSTED:
        return Verdict.WAIT_FOR_TRUST
    return Verdict.FLAG if abs(offset_ms) > policy.largest_ms else Verdict.SET


def target_offset_ms(offset_ms: int, policy: SyncPolicy = DEFAULT) -> int:
    """How far ahead the clock should be after the next step."""
    if not policy.step_ms or abs(offset_ms) <= policy.step_ms:
        return 0
    return offset_ms - policy.step_ms if offset_ms > 0 else offset_ms + policy.step_ms


def when_to_set(now_ms: int, offset_ms: int, interval_ms: int, policy: SyncPolicy = DEFAULT) -> int:
    """The first moment from now on at which the clock may be set; `now_ms` itself when it may be now. A clock further off
    than half an interval can not be set within one: then at once, and its intervals say so themselves."""
    new_ms = target_offset_ms(offset_ms, policy)
    earliest_ms = policy.margin_ms - min(0, offset_ms, new_ms)
    latest_ms = interval_ms // 2 - max(0, offset_ms, new_ms)
    if earliest_ms > latest_ms:
        return now_ms
    into_ms = now_ms % interval_ms
    if into_ms < earliest_ms:
        return now_ms - into_ms + earliest_ms
    return now_ms if into_ms <= latest_ms else now_ms - into_ms + interval_ms + earliest_ms
