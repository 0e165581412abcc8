"""The twenty checks of VEE as one table: number, rule, what it needs, what follows, and what it applies to (mdm.md B.2).

* A check may have several rules, because its parts have different consequences. The name of a rule is what findings and rule sets say.
* Rules are asked in this order. docs/vee.md shows the same table (`gridtally-mdm vee checks`), and a test holds the two together.
* A rule without units applies to every channel. `side` is the direction of the channels it is for, "" for both.
"""

from __future__ import annotations

from enum import Enum

from gridtally_shared.records import dataclass

ENERGY = frozenset({"Wh", "VAh", "varh"})
LIMITED = frozenset({"Wh", "VAh"})
ACTIVE = frozenset({"Wh"})


class Severity(Enum):
    """What a finding leads to. The text is what people see."""

    ASIDE = "set aside"
    FAILS = "estimated"
    WEIGHED = "the register decides"
    PERSON = "a person looks"
    NOTE = "noted"


@dataclass(frozen=True, slots=True)
class Check:
    """`needs` is what else must be known; where it is not, the rule finds nothing."""

    no: int
    rule: str
    name: str
    needs: str
    severity: Severity
    units: frozenset[str] = frozenset()
    side: str = ""

    def applies(self, unit: str, direction: str) -> bool:
        return (not self.units or unit in self.units) and self.side in ("", direction)


S = Severity
TABLE: tuple[Check, ...] = (
    Check(0, "envelope", "unknown meter, quantity, grid, size or time", "the meter as configured; asked before it is stored", S.ASIDE),
    Check(0, "conflict", "two values for one interval", "both values", S.WEIGHED),
    Check(1, "reader_clock", "the time of the interval is uncertain", "the mark of whoever read the meter", S.NOTE),
    Check(2, "identity", "another meter answered", "event serial_mismatch of the concentrator, which keeps its data back", S.PERSON),
    Check(3, "meter_clock", "the meter's clock is too far off to set it", "events of the clock: fails since it was last right", S.FAILS),
    Check(4, "meter", "overflow of pulses or register (also checks 5 and 6)", "the meter's mark", S.FAILS),
    Check(5, "meter", "test mode", "the meter's mark", S.FAILS),
    Check(6, "meter", "reset, value not valid", "the meter's mark", S.FAILS),
    Check(6, "device", "memory, program or metrology failed", "events of the meter", S.FAILS, ENERGY),
    Check(6, "device_warning", "battery, diagnostics, order of the profile", "events of the meter", S.NOTE),
    Check(7, "gap", "an interval of the local day is missing", "the day of its zone: 92, 96 or 100 quarters", S.FAILS),
    Check(8, "limit", "below zero, or above what the service allows", "service limit of the usage point", S.FAILS, LIMITED),
    Check(9, "spike", "the highest of a day far above the third highest", "three intervals", S.WEIGHED, ENERGY),
    Check(10, "stuck", "many equal values that are not zero", "nothing", S.WEIGHED, ENERGY),
    Check(10, "zero", "many zeros although there was power", "nothing", S.WEIGHED, ACTIVE, "import"),
    Check(10, "idle_use", "use while the supply is disconnected", "events of the switch", S.PERSON, ACTIVE, "import"),
    Check(11, "outage", "use in an interval wholly without power", "flags or events of the outage", S.WEIGHED, ENERGY),
    Check(12, "kvarh", "reactive energy that does not go with the active", "reactive channels; kWh passed", S.PERSON, ACTIVE, "import"),
    Check(13, "kvah", "kVAh that does not go with kWh and kvarh", "apparent channel; kWh passed", S.PERSON, ACTIVE, "import"),
    Check(14, "register", "the register went back or jumped, and no rollover explains it", "register reads", S.PERSON, ENERGY),
    Check(15, "sum", "the intervals do not sum to what the register moved", "register reads at both ends", S.PERSON, ENERGY),
    Check(16, "tou_sum", "rate registers do not sum to the total", "registers of the same moments", S.PERSON, ACTIVE, "import"),
    Check(17, "high_low", "use a day against last year or the month before", "20 days; at a month end", S.PERSON, ACTIVE, "import"),
    Check(17, "prolonged", "too much of a month is estimated", "the month's days; at its end", S.PERSON, ACTIVE, "import"),
    Check(18, "demand", "maximum demand above the limit, or below the mean power", "maximum demand register", S.PERSON, ACTIVE, "import"),
    Check(19, "main_check", "main and check meter differ", "a check meter named for the usage point", S.PERSON, ACTIVE),
)  # fmt: skip

AFTER: tuple[Check, ...] = (
    Check(8, "estimate", "the service does not allow the estimate", "an estimate (B.3-8)", S.PERSON, LIMITED),
    Check(0, "overtaken", "another value was measured where a person had edited", "an edit", S.PERSON),
)
"""What is looked at once estimates and edits are in their places."""

BY_RULE: dict[str, Check] = {check.rule: check for check in reversed((*TABLE, *AFTER))}
FOR_A_PERSON = frozenset({rule for rule, c in BY_RULE.items() if c.severity is S.PERSON} | {"conflict", "zero"})
"""Rules whose findings no estimate answers."""


def is_asked(rule: str, unit: str, direction: str, off: frozenset[str]) -> bool:
    """Whether a rule is asked for a channel under a rule set that has some switched off."""
    return rule not in off and BY_RULE[rule].applies(unit, direction)
