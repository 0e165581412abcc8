"""A rule catalogue as the engine holds it: every rule of prepayment.md 3.6 with its default. `document.py` reads one from JSON.

* Money is nano-currency, spans end in their unit, times of day are local minutes, dates are proleptic ordinals.
* A default never cuts, never limits and never takes money: a rule that is not written does nothing.
* `offline_cut` "allowed" is for accounts with a keypad code only (safety.md 6).
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from gridtally_shared.records import dataclass


class ZeroAction(StrEnum):
    """The option at zero (C3-A2.8). NONE: tell, and go on."""

    NONE = "none"
    DISCONNECT = "disconnect"
    LIMIT = "limit"
    POSTPAID = "postpaid"
    REPLENISH = "replenish"


class OfflineCut(StrEnum):
    """Whether a cut may be made while the cloud can not be asked (safety.md 6)."""

    NEVER = "never"
    GRACE = "grace"
    ALLOWED = "allowed"


class Close(StrEnum):
    """How a supply comes back: by itself, or armed for the consumer's button (safety.md 2)."""

    CLOSE = "close"
    ARM = "arm"


class NoSwitch(StrEnum):
    """What follows at zero where no switch is fitted."""

    NOTIFY = "notify"
    FIELD_ORDER = "field_order"


class AlertTo(StrEnum):
    """Where alerts and messages go on the spot."""

    METER = "meter"
    DISPLAY = "display"


class DebtKind(StrEnum):
    TIME = "time"
    PAYMENT = "payment"


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Low:
    """Levels at which the consumer is warned: money left, share of the last top-up, hours left."""

    money_nano: tuple[int, ...] = ()
    percent_ppm: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """A cut needs `min_count` notices, the first at least `lead_s` ago; `cadence_s` repeats the low message, 0 does not."""

    min_count: int = 1
    lead_s: int = 0
    cadence_s: int = 0


@dataclass(frozen=True, slots=True)
class Emergency:
    """Credit in advance. `auto`: taken at zero without being asked for; `step` a load limit while in use, 0 none."""

    limit_nano: int = 0
    threshold_nano: int = 0
    auto: bool = False
    max_days: int | None = None
    uses_per_topup: int = 1
    step: int = 0


@dataclass(frozen=True, slots=True)
class Overdraft:
    """Below zero down to `money_nano` or for `days`, whichever ends first; None is no bound. `load_classes` empty: every
    class; `up_to_w`: only contracts of at most that many watts. The first rule that fits an account is its rule."""

    money_nano: int | None = None
    days: int | None = None
    load_classes: tuple[str, ...] = ()
    up_to_w: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Local minutes of a day, `first` inclusive, `until` exclusive; over midnight where `until` is not above `first`."""

    first: int
    until: int

    def holds(self, minute: int) -> bool:
        if self.first < self.until:
            return self.first <= minute < self.until
        return minute >= self.first or minute < self.until


@dataclass(frozen=True, slots=True)
class Weekly:
    """Whole days of the week (Monday 0); `nth` only the nth of the month, 0 each."""

    days: tuple[int, ...]
    nth: int = 0


@dataclass(frozen=True, slots=True)
class FlagRule:
    """Accounts with this flag are not cut; between two days of the year (place in a year of 366) where they are given."""

    flag: str
    first: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Weather:
    """The cloud sets the hold "weather"; without its word for `max_age_h` it counts as set, for `cap_days` at most."""

    max_age_h: int
    cap_days: int


@dataclass(frozen=True, slots=True)
class Protected:
    """When and whom no step down may touch. `window`: only inside these minutes. `readable` False protects always."""

    daily: tuple[Span, ...] = ()
    weekly: tuple[Weekly, ...] = ()
    dates: tuple[int, ...] = ()
    yearly: tuple[int, ...] = ()
    holidays: bool = False
    window: Span | None = None
    weather: Weather | None = None
    flags: tuple[FlagRule, ...] = ()
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Partial:
    """At least this share of what would be needed buys `days` of supply."""

    ratio_ppm: int
    days: int


@dataclass(frozen=True, slots=True)
class Restore:
    """`clear_negative`: nothing owed below zero may be left. `once`: the partial way back once per cut spell."""

    min_balance_nano: int = 1
    clear_negative: bool = True
    partial: tuple[Partial, ...] = ()
    once: bool = True
    close: Close = Close.CLOSE
    spread_s: int = 0


@dataclass(frozen=True, slots=True)
class Collect:
    """The three-flag collection rule: taken from the balance while cut, while limited, while protected or in emergency. A fixed
    charge that is not taken then becomes a debt; a debt that is not taken stays as it is."""

    cut: bool = True
    limited: bool = True
    emergency: bool = True


@dataclass(frozen=True, slots=True)
class DebtRule:
    """`time` takes `rate_nano` each period; `payment` takes `percent_ppm` of a top-up, `cap_nano` a period at most."""

    kind: DebtKind
    period: Period = Period.MONTH
    rate_nano: int = 0
    percent_ppm: int = 0
    cap_nano: int | None = None
    collect: Collect = field(default_factory=Collect)


@dataclass(frozen=True, slots=True)
class TopUp:
    min_nano: int = 0
    max_nano: int | None = None
    multiple_nano: int = 0
    max_balance_nano: int | None = None


@dataclass(frozen=True, slots=True)
class LimitStep:
    """One step: watts, or a share of what the contract allows."""

    code: str
    watts: int | None = None
    percent_ppm: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """Steps count from 1. `at_zero` is the step of the action "limit"; a cut follows after `cut_after_h`, None never."""

    steps: tuple[LimitStep, ...] = ()
    at_zero: int = 0
    cut_after_h: int | None = None
    guard_s: int = 60


@dataclass(frozen=True, slots=True)
class Reclose:
    delay_s: int = 120
    count: int = 1
    reset_after_s: int = 3_600


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a catalogue. `then` is what follows a request (postpaid, replenish) whose allowance has ended;
    `zero_nano` is the balance that counts as zero. After `dormant_days` off without a payment the utility is told, once.
    `show_at`: minute of the local day at which the meter's own display is written; None hourly. `alerts`: where
    alerts and messages are shown on the spot: on the meter's own display, on the display device (page and local topic)."""

    code: str
    name: str = ""
    currency: str = ""
    source: str = ""
    sample: bool = False
    zero_action: ZeroAction = ZeroAction.NONE
    zero_nano: int = 0
    then: ZeroAction = ZeroAction.NONE
    offline_cut: OfflineCut = OfflineCut.NEVER
    offline_grace_h: int = 0
    lease_days: int | None = None
    cut_spread_s: int = 0
    low: Low = field(default_factory=Low)
    notice: Notice = field(default_factory=Notice)
    emergency: Emergency = field(default_factory=Emergency)
    overdraft: tuple[Overdraft, ...] = ()
    protected: Protected = field(default_factory=Protected)
    restore: Restore = field(default_factory=Restore)
    debts: tuple[DebtRule, ...] = ()
    debt_may_cut: bool = False
    fixed: Collect = field(default_factory=Collect)
    topup: TopUp = field(default_factory=TopUp)
    limit: Limit = field(default_factory=Limit)
    reclose: Reclose = field(default_factory=Reclose)
    convert_grace_days: int = 0
    dormant_days: int | None = None
    stale_read_intervals: int = 2
    show_at: int | None = None
    alerts: tuple[AlertTo, ...] = (AlertTo.METER, AlertTo.DISPLAY)
    no_switch: NoSwitch = NoSwitch.NOTIFY
    no_switch_days: int = 0
    keypad: bool = True
    languages: tuple[str, ...] = ("en",)
    version: int = 0
