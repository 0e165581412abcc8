"""What the prepay core is handed and what it asks for: the whole seam between the core thread and prepayment.

* `PrepayCore.handle(event, now_ms) -> effects`. One event is one transaction on money.db; when `handle` returns, what
  it decided is durable, so an effect that leaves is always one whose intent is stored.
* Effects are orders to the rim. Every RunSwitch and RunRead must come back as SwitchFinished or ReadFinished with the
  same id, also after a failure (`switching.outcome_of_error`); a crash in between is made good by `PrepayCore.start`.
* Times are int milliseconds UTC, money nano-currency, energy Wh.

Source: prepayment.md 3.2; safety.md 3 and 4; reliability-security.md 5 (intent before execution).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum

from gridtally_edge.drivers.model import SwitchState
from gridtally_shared.contract.messages import AccountHead, CommandType, DcuConfig


class SwitchResult(Enum):
    """How an order to a switch ended. Only DONE and ALREADY mean that the ordered state was read back."""

    DONE = "done"
    ALREADY = "already"
    WRONG_SERIAL = "wrong_serial"
    NOT_FITTED = "not_fitted"
    WITHDRAWN = "withdrawn"
    NO_REGISTER = "no_register"
    STUCK = "stuck"
    NO_ANSWER = "no_answer"
    METER_FAULT = "meter_fault"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SwitchOutcome:
    """Everything one association saw. `sent`: the order left for the meter (it may have acted). `state_after` is what
    the meter itself reported; UNKNOWN with `sent` means: read the switch again, never repeat blindly."""

    result: SwitchResult
    serial: str
    state_before: SwitchState
    state_after: SwitchState
    sent: bool
    at_ms: int
    register_wh: int | None = None
    register_at_ms: int = 0
    fault: str = ""


class ClockSource(Enum):
    """Where an observation of true time came from (prepayment.md 5.6)."""

    CLOUD = "cloud"
    NTP = "ntp"
    VIRTUAL = "virtual"
    METERS = "meters"


# ---- events -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigAccepted:
    """A configuration whose signature, DCU and rising version the agent has verified."""

    config: DcuConfig


@dataclass(frozen=True, slots=True)
class MeterRead:
    """One meter of a sweep. `serial` is what the meter said in the same association, `at_ms` the time of the values,
    `quality` the flags of the register value. `register_modulus_wh` is where the register rolls over, if known;
    `clock_offset_ms` how far the meter's clock is ahead of ours, if it was read and not set by this DCU since."""

    meter_no: int
    serial: str
    at_ms: int
    register_wh: int | None
    quality: int = 0
    switch: SwitchState = SwitchState.UNKNOWN
    power_w: int | None = None
    voltage_mv: int | None = None
    register_modulus_wh: int | None = None
    clock_offset_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SweepRead:
    """All meters read in one sweep: one transaction, one commit."""

    reads: tuple[MeterRead, ...]


@dataclass(frozen=True, slots=True)
class InstrumentArrived:
    """Bytes of the `instrument` channel, unverified."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class CommandArrived:
    """Bytes of the `command` channel, unverified."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class SwitchFinished:
    action_id: bytes
    outcome: SwitchOutcome


@dataclass(frozen=True, slots=True)
class ReadFinished:
    """`result` is what the command's receipt carries when `ok`; `reason` a code of `lifecycle.Reason` otherwise.
    `serial` and `switch` are what the meter said, for READ_SWITCH and READ_INSTANT."""

    cmd_id: bytes
    ok: bool
    at_ms: int
    result: bytes = b""
    reason: str = ""
    serial: str = ""
    switch: SwitchState = SwitchState.UNKNOWN


@dataclass(frozen=True, slots=True)
class WelcomeSeen:
    """A verified `welcome`: the cloud's signed time and the heads of its journal mirror."""

    at_ms: int
    accounts: tuple[AccountHead, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """The session with the broker came up or went down."""

    up: bool


@dataclass(frozen=True, slots=True)
class ClockObserved:
    """A source of true time said `true_ms` at our `local_ms`, give or take `error_ms`."""

    source: ClockSource
    true_ms: int
    local_ms: int
    error_ms: int = 0


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: fixed charges, expiry, scheduled commands, protected hours. Once a minute of the clock in use."""


PrepayEvent = (
    ConfigAccepted | MeterRead | SweepRead | InstrumentArrived | CommandArrived | SwitchFinished | ReadFinished
    | WelcomeSeen | LinkChanged | ClockObserved | Tick
)  # fmt: skip


# ---- effects ------------------------------------------------------------------------------------------------


class Permit:
    """Leave to act, withdrawn by the core thread when a payment arrives while the order waits for its line."""

    __slots__ = ("_withdrawn",)

    def __init__(self) -> None:
        self._withdrawn = threading.Event()

    def withdraw(self) -> None:
        self._withdrawn.set()

    def granted(self) -> bool:
        return not self._withdrawn.is_set()


@dataclass(frozen=True, slots=True)
class RunSwitch:
    """Order for `switching.switch_conversation`, at Priority.SWITCH. Not carried out after `latest_ms` nor once the
    permit is withdrawn. `min_register_wh`: a cut needs a fresh register of at least this (what is charged so far);
    None for an order that needs no reading."""

    action_id: bytes
    meter_no: int
    serial: str
    close: bool
    latest_ms: int
    min_register_wh: int | None = None
    permit: Permit = field(default_factory=Permit, compare=False)


@dataclass(frozen=True, slots=True)
class RunRead:
    """A read on demand. `cmd_id` is the command's, or the action's whose switch must be looked at after a restart."""

    cmd_id: bytes
    meter_no: int
    serial: str
    type: CommandType
    from_ms: int = 0
    to_ms: int = 0


@dataclass(frozen=True, slots=True)
class ShowOnMeter:
    """Write the balance to the meter's display objects, where the driver has BALANCE_DISPLAY."""

    meter_no: int
    amount_nano: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Announce:
    """A message for the consumer: code and parameters travel, the text is local (prepayment.md 6.3). It is already
    stored for the display page; this is for further carriers. `params` are (name, value) pairs; money is in nano."""

    account_no: int
    meter_no: int
    code: str
    params: tuple[tuple[str, str], ...] = ()


PrepayEffect = RunSwitch | RunRead | ShowOnMeter | Announce
