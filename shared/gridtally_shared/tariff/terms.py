"""A tariff as the engine holds it: what a document says, in integers. `docs/tariff.md` tells each field.

* Prices are nano (10^-9 of the currency): per Wh, per W of a month, per day or per month. Percentages are ppm.
* Days are proleptic ordinals of the tariff's local calendar, times of day minutes since local midnight.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from zoneinfo import ZoneInfo

from gridtally_shared.records import dataclass

PPM = 1_000_000


class Measure(StrEnum):
    """What an energy or demand item counts."""

    IMPORT = "import"
    EXPORT = "export"
    NET_IMPORT = "net_import"
    NET_EXPORT = "net_export"
    APPARENT = "apparent"


class Rounding(StrEnum):
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    DOWN = "down"
    UP = "up"


class Prorate(StrEnum):
    """How many months a run of days is."""

    CALENDAR_MONTHS = "calendar_months"
    CYCLE_DAYS = "cycle_days"
    THIRTY_DAYS = "thirty_days"


class Every(Enum):
    MONTH = "month"
    DAY = "day"


class Times(StrEnum):
    """What a fixed price is multiplied by."""

    ONE = "one"
    KW = "kw"
    KW_OR_PART = "kw_or_part"


@dataclass(frozen=True, slots=True)
class Places:
    """Where amounts are rounded. `carry`: what rounding leaves goes into the next cycle."""

    places: int
    mode: Rounding
    carry: bool = False


@dataclass(frozen=True, slots=True)
class Proration:
    by: Prorate
    places: int | None


@dataclass(frozen=True, slots=True)
class Cycle:
    """The span in which slabs count. `months` 0: the bill's own days."""

    months: int
    start_day: int
    first_month: int


@dataclass(frozen=True, slots=True)
class Season:
    code: str
    first: int
    until: int


@dataclass(frozen=True, slots=True)
class DayType:
    """`yearly` are places in a year of 366 days, from 0."""

    code: str
    weekdays: tuple[int, ...]
    dates: tuple[int, ...]
    yearly: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of a day, in minutes, and the time-of-use period it belongs to."""

    first: int
    until: int
    period: str


@dataclass(frozen=True, slots=True)
class Hours:
    """The bands of the days of some seasons and day types; empty means all."""

    seasons: tuple[str, ...]
    days: tuple[str, ...]
    bands: tuple[Band, ...]


@dataclass(frozen=True, slots=True)
class Slab:
    """`until` in Wh (energy), W (demand, contract); None has no end. `price` in nano per Wh, per W or whole."""

    until: int | None
    price: int


@dataclass(frozen=True, slots=True)
class Rate:
    """Slabs of some periods together; no period named means all."""

    periods: tuple[str, ...]
    slabs: tuple[Slab, ...]


@dataclass(frozen=True, slots=True)
class When:
    """An item counts only where the imported energy of the cycle is above one bound and not above the other (Wh a month)."""

    over: int = 0
    up_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """`needs` and `unless`: flags of the account. `credit`: the amount is given, not taken."""

    code: str
    name: str
    credit: bool
    when: When | None
    needs: tuple[str, ...]
    unless: tuple[str, ...]
    rounding: Places | None
    cap: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy(Item):
    measure: Measure
    telescopic: bool
    every: Every
    rates: tuple[Rate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Net(Item):
    """Import less export of each rate's periods; more export is carried on. `true_up_month`: the calendar month with whose first day a
    settlement year begins, 0 for never; what is carried then is given at `true_up_price`."""

    telescopic: bool
    every: Every
    rates: tuple[Rate, ...]
    true_up_month: int
    true_up_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFactor(Item):
    """`penalties` and `incentives` hold bounds in ten-thousandths and ppm of the bases; `each`: the step they are for, 0 for the whole.
    `places`: the digits the power factor is rounded to."""

    bases: tuple[str, ...]
    places: int
    each: int
    penalties: tuple[Slab, ...]
    incentives: tuple[Slab, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed(Item):
    every: Every
    times: Times
    prorate: bool
    slabs: tuple[Slab, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand(Item):
    measure: Measure
    periods: tuple[str, ...]
    window_min: int
    sliding: bool
    slabs: tuple[Slab, ...]
    contract_ppm: int
    ratchet_ppm: int
    ratchet_cycles: int
    excess_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Percent(Item):
    ppm: int
    bases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum(Item):
    amount: int
    times: Times
    bases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt(Item):
    price: int
    every: Every


@dataclass(frozen=True, slots=True)
class Version:
    """What holds from a local day on. `items` in the document's order; `order` has bases before what is taken on them.

    `at_ms`: the instant within the day from which energy counts, None for its beginning; the fixed part of that day stays with
    the version before. `number`: the stored version of the tariff it comes from. `registers`: which of the meter's rate registers counts
    each period, for bills without intervals; empty where none is named."""

    first: int
    until: int | None
    seasons: tuple[Season, ...]
    day_types: tuple[DayType, ...]
    hours: tuple[Hours, ...]
    items: tuple[Item, ...]
    order: tuple[Item, ...]
    periods: tuple[str, ...]
    rounding: Places | None
    at_ms: int | None = None
    number: int = 0
    registers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A whole tariff: never empty of versions, in the order of their first day. `notice_days`: how long before its start a further
    version is made at least. Compared by identity."""

    code: str
    name: str
    currency: str
    zone: ZoneInfo
    cycle: Cycle
    proration: Proration
    total: Places | None
    versions: tuple[Version, ...]
    notice_days: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """What a tariff asks about the account. `debts`: owed at the opening, by item code. `cuts`: first days of the bills, for
    a tariff whose cycle is the bill. `ends_day`: the first day without service."""

    contract_w: int = 0
    flags: frozenset[str] = frozenset()
    debts: tuple[tuple[str, int], ...] = ()
    cuts: tuple[int, ...] = ()
    ends_day: int | None = None
