"""What the rim tells the edge core, and what the core asks of it.

* Events and effects are values; the agent turns effects into conversations on lines and messages to the broker, and
  their ends into events again. Every StartPoll, StartRead and StartSwitch comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

from gridtally_edge.polling.poll import PollRequest, PollResult
from gridtally_edge.prepay.events import ClockObserved, RunRead, RunSwitch, ShowOnMeter, SwitchOutcome
from gridtally_edge.sync.mqtt import Arrived, LinkLost, LinkUp
from gridtally_edge.transports.arbiter import Priority


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of an event: UTC, real seconds that only rise, and how fast UTC runs against them. `mono_ms` is the
    monotonic clock where it runs at the speed of UTC, 0 under virtual time."""

    now_ms: int
    mono_s: float
    factor: float = 1.0
    mono_ms: int = 0


# ---- events of the rim (beside those of sync/mqtt.py) ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Beat:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class PollDone:
    key: str
    request: PollRequest
    result: PollResult


@dataclass(frozen=True, slots=True)
class ReadDone:
    run: RunRead
    key: str
    request: PollRequest
    result: PollResult


@dataclass(frozen=True, slots=True)
class SwitchDone:
    order: RunSwitch
    outcome: SwitchOutcome


CoreEvent = Beat | PollDone | ReadDone | SwitchDone | LinkUp | LinkLost | Arrived | ClockObserved

# ---- effects --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartPoll:
    key: str
    request: PollRequest
    priority: Priority


@dataclass(frozen=True, slots=True)
class StartRead:
    key: str
    request: PollRequest
    run: RunRead


@dataclass(frozen=True, slots=True)
class StartSwitch:
    key: str
    order: RunSwitch


@dataclass(frozen=True, slots=True)
class StartShow:
    key: str
    show: ShowOnMeter


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class SlowDown:
    """Virtual time runs faster than the lines can be read."""

    factor: float


Effect = StartPoll | StartRead | StartSwitch | StartShow | Publish | SlowDown
