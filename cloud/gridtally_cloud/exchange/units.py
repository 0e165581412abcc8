"""Units of files and the quantities they become: one row a unit, with how many of ours it has.

* Power (kW) is the mean over its interval: its energy follows from the interval's length.
* Finer than one of ours (0.0004 kWh) is carried to the next interval of the same local day, half up: the day keeps its sum, and two files
  that begin at midnight round alike.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from gridtally_shared.quantities import BY_NAME, Kind
from gridtally_shared.records import dataclass

MOST_DIGITS = 15
LARGEST = 10**MOST_DIGITS
"""No interval has so many of ours."""

_HALF = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Unit:
    """`stored`: which of our units it counts; `each`: how many of them one has; `power`: it is per hour."""

    name: str
    stored: str
    each: Decimal
    power: bool = False


UNITS: dict[str, Unit] = {name.lower(): Unit(name, stored, Decimal(each), power) for name, stored, each, power in (
    ("Wh", "Wh", "1", False), ("kWh", "Wh", "1000", False), ("MWh", "Wh", "1000000", False),
    ("VAh", "VAh", "1", False), ("kVAh", "VAh", "1000", False), ("varh", "varh", "1", False), ("kvarh", "varh", "1000", False),
    ("W", "Wh", "1", True), ("kW", "Wh", "1000", True), ("MW", "Wh", "1000000", True),
    ("VA", "VAh", "1", True), ("kVA", "VAh", "1000", True), ("var", "varh", "1", True), ("kvar", "varh", "1000", True),
    ("l", "m3", "1", False), ("m3", "m3", "1000", False), ("gal", "m3", "3.785411784", False), ("ft3", "m3", "28.316846592", False),
    ("V", "V", "1000", False), ("mV", "V", "1", False), ("A", "A", "1000", False), ("mA", "A", "1", False),
)}  # fmt: skip

QUANTITY_OF: dict[tuple[str, str], str] = {
    ("Wh", "import"): "interval_import_wh", ("Wh", "export"): "interval_export_wh",
    ("VAh", "import"): "interval_apparent_vah", ("VAh", "export"): "interval_apparent_export_vah",
    ("varh", "import"): "interval_reactive_q1_varh", ("varh", "export"): "interval_reactive_q4_varh",
    ("m3", "import"): "interval_water_l", ("V", "import"): "interval_voltage_mv", ("A", "import"): "interval_current_ma",
}  # fmt: skip
"""By our unit and the direction; water unless gas is named."""

_OWN = {("Wh", 0): "Wh", ("VAh", 0): "VAh", ("varh", 0): "varh", ("m3", -3): "l", ("V", -3): "mV", ("A", -3): "mA"}

INTERVAL_QUANTITIES = tuple(name for name, quantity in BY_NAME.items() if quantity.kind is Kind.INTERVAL)


def own_unit(quantity: str) -> str:
    """The unit one of ours is, as files name it."""
    kind = BY_NAME[quantity]
    return _OWN[(kind.unit, kind.exponent)]


def amount(text: str) -> Decimal:
    """A finite number. Raises ValueError."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value.adjusted() > MOST_DIGITS or len(value.as_tuple().digits) > 2 * MOST_DIGITS or value.adjusted() < -30:
        raise ValueError("this is not a number of that size; write digits such as 0.125")
    return value


def half_up(value: Decimal) -> int:
    return int((value + _HALF) // 1)
