"""What the pricing of an item looks at, and what it makes: a version's part of a cycle with its counts, and drafts of lines. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from fractions import Fraction
from typing import NamedTuple

from gridtally_shared.records import dataclass
from gridtally_shared.tariff.cycles import Days
from gridtally_shared.tariff.lines import ONE
from gridtally_shared.tariff.terms import Account, Version


@dataclass(frozen=True, slots=True)
class Frame:
    """The days of one version's part of a cycle. `begun`: how many have begun; `free`: the first of them whose fixed part is not
    charged here (the day of an opening, or of a change in its middle); `opens`: it holds the first served day of the cycle.

    `room`: the months slabs and bounds are for, all its days; `months`: those its charges are for, `elapsed` the begun ones of them."""

    number: int
    version: Version
    cycle: Days
    first: int
    until: int
    begun: int
    free: int
    opens: bool
    room: Fraction
    months: Fraction
    elapsed: Fraction

    @property
    def days(self) -> int:
        """The days begun that are charged."""
        return self.begun - self.free


@dataclass(frozen=True, slots=True)
class Span:
    """A frame with what was counted in it. `ended`: all its use is known. `wh` counts (period, measure), `peaks` (item code, period) in
    Wh of the item's window, `past` the highest W of the cycles before, newest first."""

    frame: Frame
    account: Account
    ended: bool
    wh: Mapping[tuple[str, str], int]
    peaks: Mapping[tuple[str, str], int]
    past: Mapping[str, tuple[int, ...]]


@dataclass(slots=True)
class Run:
    """What goes from item to item and from cycle to cycle while amounts are made."""

    remainders: dict[str, int] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)
    amounts: dict[str, int] = field(default_factory=dict)


class Draft(NamedTuple):
    """A line before its amount is rounded and its sign known."""

    exact: Fraction | int
    quantity: int
    unit: str
    rate: int
    per: str
    period: str = ""
    slab: int = 0
    factor: Fraction = ONE
    kind: str = ""


def floor(amount: Fraction | int) -> int:
    return amount if isinstance(amount, int) else amount.numerator // amount.denominator
