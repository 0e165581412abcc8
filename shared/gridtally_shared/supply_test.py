"""The remote test of a supply: is the meter there, is it energised, what is behind its switch, what flows.

* The answer of a TEST_SUPPLY command; also the answer of a meter that is silent (`connected` False), at once.
* A verdict says no more than was seen: what a meter can not tell stays open.

Source: seed 002 L283, L328, L418 (C3-A3.4, C3-FR13, C3-NFR13); prepayment.md N11.
"""

from __future__ import annotations

from enum import StrEnum

from gridtally_shared.contract.codec import key
from gridtally_shared.records import dataclass
from gridtally_shared.route import Route

LIVE_MV, FLOWING_W = 25_000, 10
"""The most that a long line or a filter leaves behind an open switch."""
ENERGISED_MV = 100_000
OPEN, CLOSED, ARMED, NOT_FITTED, UNKNOWN = range(5)


class Verdict(StrEnum):
    """WELDED: says open, and is live behind, by the contactor or by a source of the home. NOT_THROUGH: says closed, and
    nothing is behind it."""

    PASSED = "passed"
    SILENT = "silent"
    DEAD = "dead"
    OFF = "off"
    ARMED = "armed"
    WELDED = "welded"
    NOT_THROUGH = "not_through"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class SupplyTest:
    """`switch` as SwitchState numbers (0 open, 1 closed, 2 armed, 3 not fitted, 4 unknown); None: the meter can not tell. `route`:
    the way over which it was asked, also where no answer came."""

    connected: bool = key(0)
    at_ms: int = key(1)
    switch: int = key(2, UNKNOWN)
    voltage_mv: int | None = key(3, None)
    load_side_mv: int | None = key(4, None)
    current_ma: int | None = key(5, None)
    power_w: int | None = key(6, None)
    serial: str = key(7, "")
    route: Route | None = key(8, None)

    @property
    def verdict(self) -> Verdict:
        live = (self.load_side_mv or 0) > LIVE_MV or (self.power_w or 0) > FLOWING_W
        rules = (
            (not self.connected, Verdict.SILENT),
            (self.voltage_mv is not None and self.voltage_mv < ENERGISED_MV, Verdict.DEAD),
            (self.switch == OPEN and live, Verdict.WELDED),
            (self.switch == OPEN, Verdict.OFF),
            (self.switch == ARMED, Verdict.ARMED),
            (self.switch == CLOSED and self.load_side_mv is not None and not live, Verdict.NOT_THROUGH),
            (self.switch == UNKNOWN, Verdict.UNCLEAR),
        )
        return next((verdict for holds, verdict in rules if holds), Verdict.PASSED)
