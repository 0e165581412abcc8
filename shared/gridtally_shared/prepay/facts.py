"""What the engine looks at: one supply as it is known now, and what has just happened to it.

* Ages and times in ms; None means never, or not known. Unknown never leads to a cut.
* Levels (balances, states, ages) are here whole at each step; `Happening` is only for what is over the moment it is told.
* What is known of the money, the switch and the share of cuts is put together here for concentrator and MDM; how and where each of them
  learns the rest is its own.

Source: prepayment.md 3.2, 3.5; safety.md 13, 17.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Protocol

from gridtally_shared.contract.messages import AccountConfig, ClockState
from gridtally_shared.ledger.entries import Pool
from gridtally_shared.ledger.money_order import owed
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.prepay.calendars import Region
from gridtally_shared.prepay.regions import Ledger, Schedule, Switch
from gridtally_shared.records import dataclass


class OffReason(StrEnum):
    """Why a switch is open, as far as we know."""

    NONE = ""
    BALANCE = "balance"
    ORDER = "order"
    UNORDERED = "unordered"
    LIMIT = "limit"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Limit:
    """A load limit and who asks for it: "order", "schedule", or "credit:" with the code of the step."""

    watts: int
    by: str


class Happening(Enum):
    """Events that leave no level behind (prepayment.md 3.2)."""

    CREDITED = "E3"
    EMERGENCY_ACCEPTED = "E9"
    RECLOSED_BY_HAND = "E15"
    METER_SWAPPED = "E18"
    TAMPERED = "E19"


@dataclass(frozen=True, slots=True)
class Facts:
    """`funded`: the account had an instrument at least once. `known`: funded, or charged in its first epoch (a later one is not known
    before what it brings along is there). `emergency_nano` is what of the emergency credit is used, `last_topup_nano` the credit that has
    just been applied. `started`: the box has only just started, or its register says that the disk may be an old one; it waits for the
    first word of the cloud. `moving`: a switch action is under way. `switch_fault`: it did not move, or says open and is live behind;
    `arms`: its meter waits for the button after a close, None not known. `demand_over`: the averaged demand is above the limit in force,
    None where none is watched; `demand_w` that average, `over_for_ms` for how long. `limits` are those of orders and schedules,
    `limit_for_ms` how long region E stands where it stands, by elapsed time. `limiter`: "meter" where the meter was seen to have a
    limiter of its own, "none" where it has none, '' not known. `boundary`: a reading at the end of a recording interval has just been
    charged. `catching_up`: what this side lacks of the journal, or an instrument before one that came, will be here within minutes, and may
    be a hold. `region`: local time, holidays and announced weather by the account's calendar; None where it names none. `converted_ms`: the
    last change from regular billing to prepayment."""

    account: AccountConfig
    now_ms: int
    opened: bool = True
    policy_known: bool = True
    balance_nano: int = 0
    emergency_nano: int = 0
    last_topup_nano: int = 0
    funded: bool = True
    known: bool = True
    time_left_ms: int | None = None
    ledger: Ledger = Ledger.OK
    ledger_fault: str = ""
    register_held: str = ""
    tariff_known: bool = True
    clock: ClockState = ClockState.UNTRUSTED
    uncertainty_ms: int = 0
    reading_age_ms: int | None = None
    interval_ms: int = 900_000
    boundary: bool = False
    serial_proven: bool = False
    parked: int = 0
    missing_instruments: bool = False
    catching_up: bool = False
    link_up: bool = False
    started: bool = False
    offline_since_ms: int = 0
    cloud_seen_ms: int = 0
    lease_until_ms: int = 0
    config_behind: bool = False
    switch: Switch = Switch.UNKNOWN
    off_reason: OffReason = OffReason.NONE
    off_since_ms: int = 0
    moving: bool = False
    pending_action: bool = False
    stuck_until_ms: int = 0
    resyncs: int = 0
    closed_by_order_ms: int | None = None
    cuts_last_hour: int = 0
    cuts_allowed: int = 0
    feeder_cuts: int = 0
    feeder_allowed: int | None = None
    breaker_tripped: bool = False
    power_w: int | None = None
    load_side_mv: int | None = None
    switch_fault: str = ""
    arms: bool | None = None
    demand_over: bool | None = None
    demand_w: int | None = None
    over_for_ms: int = 0
    limits: tuple[Limit, ...] = ()
    limit_for_ms: int | None = None
    limiter: str = ""
    schedule: Schedule = Schedule.NONE
    converted_ms: int | None = None
    region: Region | None = None

    @property
    def is_free(self) -> bool:
        """Nothing is under way at the switch and nothing waits for it."""
        return not (self.moving or self.pending_action)


class SwitchSeen(Protocol):
    """What was seen of a switch, as a store keeps it."""

    off_reason: str
    off_since_ms: int
    stuck_until_ms: int
    resyncs: int
    closed_by_order_ms: int | None
    fault: str

    @property
    def arms(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class CutShare:
    """Cuts within the last hour and the most there may be, of all and behind the feeder, where one is named."""

    cuts: int
    allowed: int
    feeder_cuts: int
    feeder_allowed: int | None
    breaker_tripped: bool


FIRST_EPOCH = 1


def most_cuts(meters: int, permille: int) -> int:
    """The hourly share of so many meters, one at least."""
    return max(1, meters * permille // 1000)


def facts_from(account: AccountConfig, now_ms: int, state: LedgerState, switch: Switch, seen: SwitchSeen, share: CutShare) -> Facts:
    """Without what only its own place knows: the clock, the readings, the link, the limit."""
    funded = bool(state.used.prefix or state.used.bitmap)
    known = funded or (account.account_epoch <= FIRST_EPOCH and state.charged_wh > 0)
    return Facts(
        account, now_ms, opened=state.opened_wh is not None, balance_nano=state.balance_nano, emergency_nano=owed(state, Pool.EMERGENCY),
        funded=funded, known=known, missing_instruments=state.used.bitmap != 0, converted_ms=state.converted_ms,
        switch=switch, off_reason=OffReason(seen.off_reason), off_since_ms=seen.off_since_ms, stuck_until_ms=seen.stuck_until_ms,
        resyncs=seen.resyncs, closed_by_order_ms=seen.closed_by_order_ms, switch_fault=seen.fault,
        arms=None if seen.arms is None else bool(seen.arms), cuts_last_hour=share.cuts, cuts_allowed=share.allowed,
        feeder_cuts=share.feeder_cuts, feeder_allowed=share.feeder_allowed, breaker_tripped=share.breaker_tripped,
    )  # fmt: skip
