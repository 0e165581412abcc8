"""What the rim tells the edge core, and what the core asks of it.

* Events and effects are values; the agent turns effects into conversations on lines and messages to the broker, and
  their ends into events again. Every StartPoll, StartRead, StartTask and StartSwitch comes back.
"""

from __future__ import annotations

from gridtally_edge.counter import Answer, Asked
from gridtally_edge.drivers.model import Face
from gridtally_edge.polling.poll import PollRequest, PollResult
from gridtally_edge.polling.street import MeterOnLine
from gridtally_edge.polling.tasks import TaskOutcome
from gridtally_edge.polling.timesync import SyncPolicy
from gridtally_edge.prepay.events import ClockObserved, RunRead, RunSwitch, RunTask, SwitchOutcome
from gridtally_edge.registry import MeterChange
from gridtally_edge.sync.mqtt import Arrived, LinkLost, LinkUp
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.heard import Heard, NodeChanged
from gridtally_shared.records import dataclass


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


@dataclass(frozen=True, slots=True)
class TaskDone:
    key: str
    task: RunTask
    outcome: TaskOutcome


@dataclass(frozen=True, slots=True)
class MetersChanged:
    """The registry was changed: meters that came or are entered otherwise now, keys that went, and the changes a person
    noted (all of the file's; those that are journaled already are passed over)."""

    fitted: tuple[MeterOnLine, ...] = ()
    gone: tuple[str, ...] = ()
    changes: tuple[MeterChange, ...] = ()


@dataclass(frozen=True, slots=True)
class ClockStepped:
    """Our own clock was corrected."""

    old_ms: int
    new_ms: int


CoreEvent = (
    Asked | Beat | ClockStepped | MetersChanged | PollDone | ReadDone | SwitchDone | TaskDone
    | Heard | NodeChanged | LinkUp | LinkLost | Arrived | ClockObserved
)  # fmt: skip

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
class StartTask:
    """`interval_ms` is the meter's, whose boundaries a clock is set after; `policy` how its clock is kept."""

    key: str
    task: RunTask
    priority: Priority
    interval_ms: int
    policy: SyncPolicy


@dataclass(frozen=True, slots=True)
class RenewPort:
    """The meter is not what its port has learnt of it (another capture period): begin with a new one."""

    key: str


@dataclass(frozen=True, slots=True)
class StartShow:
    key: str
    face: Face


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class SlowDown:
    """Virtual time runs faster than the lines can be read."""

    factor: float


@dataclass(frozen=True, slots=True)
class StepClock:
    """Our own clock is off by so much against the cloud's signed time; it comes back as ClockStepped where it may be set."""

    by_ms: int


@dataclass(frozen=True, slots=True)
class GiveAnswer:
    """To whoever waits at the counter."""

    ask_id: bytes
    answer: Answer


Effect = GiveAnswer | StartPoll | StartRead | StartSwitch | StartTask | StartShow | RenewPort | StepClock | Publish | SlowDown
