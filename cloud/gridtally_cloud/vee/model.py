"""What a validation rule is given and what it gives."""

from __future__ import annotations

from array import array
from dataclasses import field

from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class DayBlock:
    """One channel-day: equal intervals from `start_ms` on; `values[i]` counts only where `present[i]` is 1."""

    channel_no: int
    day: int
    start_ms: int
    period_s: int
    unit: str
    values: array[int]
    quality: array[int]
    present: bytes

    def start_of(self, index: int) -> int:
        return self.start_ms + index * self.period_s * 1000

    @property
    def end_ms(self) -> int:
        return self.start_of(len(self.values))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Any span of one channel: equal intervals from `start_ms` on; `values[i]` counts only where `present[i]` is 1."""

    start_ms: int
    period_s: int
    unit: str
    values: array[int]
    quality: array[int]
    present: bytes

    def __len__(self) -> int:
        return len(self.values)

    def start_of(self, index: int) -> int:
        return self.start_ms + index * self.period_s * 1000

    def index_of(self, at_ms: int) -> int | None:
        """The interval that starts at that time, or the end of the last; None off the grid or outside."""
        index, beside = divmod(at_ms - self.start_ms, self.period_s * 1000)
        return index if not beside and 0 <= index <= len(self.values) else None

    def part(self, first: int, after: int) -> Stretch:
        cut = slice(first, after)
        return Stretch(self.start_of(first), self.period_s, self.unit, self.values[cut], self.quality[cut], self.present[cut])


@dataclass(frozen=True, slots=True)
class RegisterSample:
    """A read of the register; by up to `slack` more or less than `value`, where it was brought to the grid."""

    at_ms: int
    value: int
    slack: int = 0


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A sum may differ by `steps` register steps or by `permille` of the movement, whichever is larger."""

    steps: int = 2
    permille: int = 2


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The parameters of the rules, as a named row; mdm.md B.2 and B.3, column Default.

    `spike_permille`: how far the highest interval of a day may lie above the third highest; days whose highest is below
    `spike_floor_wh` are not looked at. `stuck_run`, `zero_run`: so many equal intervals in a row are suspicious. `linear_s`: the longest
    gap for a straight line. `like_days` of the last `like_window_days`, else of the last `like_reach_days`, stand for a day.
    `off`: rules that are not asked. The others are as the checks of vee/said.py and vee/across.py use them."""

    name: str = "default-1"
    off: frozenset[str] = frozenset()
    limit_factor_permille: int = 1200
    sum_tolerance: Tolerance = field(default_factory=Tolerance)
    spike_permille: int = 1800
    spike_floor_wh: int = 500
    stuck_run: int = 12
    zero_run: int = 12
    idle_wh_per_day: int = 100
    power_factor_permille: int = 500
    kvah_permille: int = 20
    high_permille: int = 2000
    low_permille: int = 400
    high_low_days: int = 20
    estimated_permille: int = 200
    main_check_permille: int = 5
    linear_s: int = 7200
    like_days: int = 3
    like_window_days: int = 30
    like_reach_days: int = 90


@dataclass(frozen=True, slots=True)
class DayContext:
    """What else a rule may look at. `contradictions` are (start_ms, other value) that came for an interval already held. A `net` channel
    may go below zero."""

    rules: RuleSet
    limit_w: int
    contradictions: tuple[tuple[int, int], ...] = ()
    net: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule has against [start_ms, end_ms), as data. `value` broke `limit`, where the rule has such. `rule_version` rises whenever
    the same intervals could be judged otherwise than before."""

    rule: str
    rule_version: int
    start_ms: int
    end_ms: int
    text: str
    value: int | None = None
    limit: int | None = None
