"""What the prepay core is handed and what it asks for: the whole seam between the core thread and prepayment.

* `PrepayCore.handle(event, now_ms) -> effects`. One event is one transaction on money.db; when `handle` returns, what
  it decided is durable, so an effect that leaves is always one whose intent is stored.
* Effects are orders to the rim. Every RunSwitch, RunRead and RunTask must come back as SwitchFinished or ReadFinished with the
  same id, also after a failure (`switching.outcome_of_error`); a crash in between is made good by `PrepayCore.start`.
* Times are int milliseconds UTC, money nano-currency, energy Wh.

Source: prepayment.md 3.2; safety.md 3 and 4; reliability-security.md 5 (intent before execution).
"""

from __future__ import annotations

import threading
from dataclasses import field
from enum import Enum

from gridtally_edge.drivers.model import SwitchState
from gridtally_shared.contract.messages import AccountHead, CommandType, DcuConfig
from gridtally_shared.meter_settings import Setting
from gridtally_shared.records import dataclass


class SwitchResult(Enum):
    """How an order to a switch ended. Only DONE and ALREADY mean that the ordered state was read back. LIVE and PRESENCE: nothing
    was closed, because there is voltage behind the switch, or because the meter would close where it should only arm."""

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
    LIVE = "load_side_live"
    PRESENCE = "needs_presence"


@dataclass(frozen=True, slots=True)
class SwitchOutcome:
    """Everything one association saw. `sent`: the order left for the meter (it may have acted). `state_after` is what
    the meter itself reported; UNKNOWN with `sent` means: read the switch again, never repeat blindly. `load_side_mv` is the
    voltage behind the switch, before a close, after a cut; None where the meter can not tell it."""

    result: SwitchResult
    serial: str
    state_before: SwitchState
    state_after: SwitchState
    sent: bool
    at_ms: int
    register_wh: int | None = None
    register_at_ms: int = 0
    fault: str = ""
    load_side_mv: int | None = None


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
    load_side_mv: int | None = None
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
class CheckpointSigned:
    """Bytes of the `checkpoint` channel, unverified."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class MirrorArrived:
    """Bytes of the `mirror` channel, unverified."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class CodeEntered:
    """A keypad code as a person typed it at one account. The same `entry_id` again is the same entry, answered again."""

    entry_id: bytes
    account_no: int
    text: str


@dataclass(frozen=True, slots=True)
class TokenEntered:
    """A token of another system as a person typed it at one account. The same `entry_id` again is the same entry."""

    entry_id: bytes
    account_no: int
    text: str


@dataclass(frozen=True, slots=True)
class FileBrought:
    """The text of an instrument file (instruments/carrier.py), unverified."""

    entry_id: bytes
    text: str


@dataclass(frozen=True, slots=True)
class CommandArrived:
    """Bytes of the `command` channel, unverified."""

    envelope: bytes


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """The consumer opened the message of a command, or (`accepted` not None) said yes or no to it."""

    cmd_id: bytes
    accepted: bool | None = None


@dataclass(frozen=True, slots=True)
class MessageSaid:
    """A display of the account showed a message ('displayed'), or its consumer said 'read', 'accepted' or 'declined' to it."""

    account_no: int
    message_no: int
    word: str


@dataclass(frozen=True, slots=True)
class EmergencyAccepted:
    """The consumer takes the emergency credit that was offered, at the balance page or the meter."""

    account_no: int


@dataclass(frozen=True, slots=True)
class RecloseAsked:
    """Somebody at the supply asks for it back after a trip above the load limit: at the balance page, or by message."""

    account_no: int


@dataclass(frozen=True, slots=True)
class HoldAsked:
    """Somebody at the box sets or lifts a hold of an account; `text` is a packed `site.SiteOrder`."""

    entry_id: bytes
    account_no: int
    text: str


@dataclass(frozen=True, slots=True)
class PersonNamed:
    """Somebody is to be known here as one who may, or no more; `text` is a packed `site.Person`."""

    entry_id: bytes
    text: str


@dataclass(frozen=True, slots=True)
class SwitchFinished:
    action_id: bytes
    outcome: SwitchOutcome


@dataclass(frozen=True, slots=True)
class ReadFinished:
    """`result` is what the command's receipt carries, `reason` a code of `lifecycle.Reason` unless `ok`. `serial` and
    `switch` are what the meter said, for READ_SWITCH and READ_INSTANT. `again_ms`: a task that is to be tried then.
    `sent`: something that changes the meter left for it. `refused`: it is known that the meter does not do it."""

    cmd_id: bytes
    ok: bool
    at_ms: int
    result: bytes = b""
    reason: str = ""
    serial: str = ""
    switch: SwitchState = SwitchState.UNKNOWN
    again_ms: int | None = None
    sent: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class WelcomeSeen:
    """A verified `welcome`: the cloud's signed time and the heads of its journal mirror. `age_ms`: how long ago that time can have been
    written at most, None when nobody knows. `config_version`: the cloud's newest configuration for this box, 0 where it is not said."""

    at_ms: int
    accounts: tuple[AccountHead, ...] = ()
    age_ms: int | None = 0
    config_version: int = 0


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
    ConfigAccepted | MeterRead | SweepRead | InstrumentArrived | CodeEntered | TokenEntered | FileBrought
    | CommandArrived | MessageSeen | SwitchFinished | ReadFinished
    | WelcomeSeen | LinkChanged | ClockObserved | Tick | CheckpointSigned | MirrorArrived
    | EmergencyAccepted | RecloseAsked | MessageSaid | HoldAsked | PersonNamed
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
    None for an order that needs no reading. `arm`: close only by a meter that then waits for its button."""

    action_id: bytes
    meter_no: int
    serial: str
    close: bool
    latest_ms: int
    min_register_wh: int | None = None
    arm: bool = False
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
class RunTask:
    """Something to be read from or written into a meter by `polling/tasks.py`; it comes back as ReadFinished. Nothing is
    written after `latest_ms`. `again`: an earlier try may have reached the meter, so look before anything is repeated;
    the first try began at `since_ms`."""

    cmd_id: bytes
    meter_no: int
    serial: str
    type: CommandType
    since_ms: int
    latest_ms: int
    settings: tuple[Setting, ...] = ()
    reset: int = 0
    again: bool = False
    token: str = ""


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


@dataclass(frozen=True, slots=True)
class CodeAnswered:
    """What became of a typed code: a keypad.CodeResult, the amount it brought, the balance after it, and until when the
    keypad is locked (0: it is not)."""

    entry_id: bytes
    account_no: int
    result: str
    amount_nano: int
    balance_nano: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class TokenAnswered:
    """What became of a typed token: a tokens.TokenResult, and what the meter says of it (status -1: nothing)."""

    entry_id: bytes
    result: str
    status: int = -1
    data: str = ""


@dataclass(frozen=True, slots=True)
class FileAnswered:
    """What became of an instrument file: 'accepted' with how many were applied, known before, are waiting for others, were
    refused; or 'refused' whole, with the reason in words."""

    entry_id: bytes
    result: str
    applied: int = 0
    known: int = 0
    waiting: int = 0
    refused: int = 0
    text: str = ""


@dataclass(frozen=True, slots=True)
class SiteAnswered:
    """What became of a wish of somebody on site: a site.SiteResult, and why or what is left."""

    entry_id: bytes
    result: str
    text: str = ""


PrepayEffect = RunSwitch | RunRead | RunTask | ShowOnMeter | Announce | CodeAnswered | TokenAnswered | FileAnswered | SiteAnswered
