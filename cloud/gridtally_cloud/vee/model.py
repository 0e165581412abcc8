"""What a validation rule is given and what it gives."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field


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
class RegisterSample:
    at_ms: int
    value: int


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A sum may differ by `steps` register steps or by `permille` of the movement, whichever is larger."""

    steps: int = 2
    permille: int = 2


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The parameters of the rules, as a named row; mdm.md B.2, column Default."""

    name: str = "default-1"
    limit_factor_permille: int = 1200
    sum_tolerance: Tolerance = field(default_factory=Tolerance)


@dataclass(frozen=True, slots=True)
class DayContext:
    """What else a rule may look at. `registers` are the samples of the same quantity within the day, in order of time;
    `contradictions` are (start_ms, other value) that came for an interval already held."""

    rules: RuleSet
    limit_w: int
    register_step: int
    registers: tuple[RegisterSample, ...] = ()
    contradictions: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule has against [start_ms, end_ms), as data. `value` broke `limit`, where the rule has such."""

    rule: str
    rule_version: int
    start_ms: int
    end_ms: int
    text: str
    value: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """`check` is pure. `version` rises whenever the same block could be judged otherwise than before."""

    id: str
    version: int
    check: Callable[[DayBlock, DayContext], tuple[Finding, ...]]
