"""A simulated meter: a load, a register, a contactor that may misbehave, and the port a driver would give.

* Energy is counted in whole watt-milliseconds, so the register is exact whenever it is looked at.
* `stuck`: the contactor does not move. `welded`: it says open and the load goes on. `bypassed`: somebody went round it.
* Every order is told to `witness` when it leaves the box, and what `witness` gave back is called when it reaches the contactor, before
  that moves: there the oracle sits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from gridtally_edge.drivers.model import Capability, Reading, SwitchState
from gridtally_shared.errors import LinkDown, MeterFault
from gridtally_shared.quantities import ENERGY_IMPORT

HOUR_MS = 3_600_000
Talk = Generator[str, None, Any]


@dataclass(slots=True)
class SimMeter:
    """`hourly_w`: the load of each hour since `start_ms`, round and round. `modulus_wh` is where the register rolls over. `wait_ms`: how
    long an order waits for its line at most. `removed`: taken off the wall; `successor` then answers at its address. `touched`: its
    contactor is where somebody at the meter put it, and no order did."""

    meter_no: int
    serial: str
    start_ms: int
    start_wh: int
    hourly_w: tuple[int, ...]
    modulus_wh: int | None = None
    clock_offset_ms: int = 0
    has_switch: bool = True
    arms: bool = False
    state: SwitchState = SwitchState.CLOSED
    reachable: bool = True
    removed: bool = False
    successor: SimMeter | None = None
    stuck: bool = False
    welded: bool = False
    bypassed: bool = False
    backfeed_w: int = 0
    wait_ms: int = 0
    load_percent: int = 100
    counted_wms: int = 0
    at_ms: int = 0
    offset_wh: int = 0
    shown: tuple[int, int] | None = None
    moves: list[tuple[int, bool]] = field(default_factory=list)
    touched: bool = False

    def __post_init__(self) -> None:
        self.at_ms = self.start_ms

    @property
    def answers(self) -> bool:
        return self.reachable and not self.removed

    def replaced_by(self, following: SimMeter, same_address: bool, at_ms: int) -> None:
        """A fitter takes this one off and puts the other one in its place, whose register has not moved yet."""
        self.advance(at_ms)
        self.removed, self.successor, following.at_ms = True, following if same_address else None, at_ms

    # ---- physics ----

    @property
    def live(self) -> bool:
        """Whether the load has supply."""
        return self.state is SwitchState.CLOSED or self.welded or self.bypassed or not self.has_switch

    def load_w(self, at_ms: int) -> int:
        hour = (at_ms - self.start_ms) // HOUR_MS % len(self.hourly_w)
        return self.hourly_w[hour] * self.load_percent // 100

    def advance(self, to_ms: int) -> None:
        """Count what was used until `to_ms`."""
        while self.at_ms < to_ms and not self.removed:
            end_ms = min(to_ms, (self.at_ms // HOUR_MS + 1) * HOUR_MS)
            if self.live:
                self.counted_wms += self.load_w(self.at_ms) * (end_ms - self.at_ms)
            self.at_ms = end_ms

    @property
    def used_wh(self) -> int:
        """What was really used since the start: the truth behind every register."""
        return self.counted_wms // HOUR_MS

    @property
    def register_wh(self) -> int:
        raw = self.start_wh + self.used_wh + self.offset_wh
        return raw % self.modulus_wh if self.modulus_wh else raw

    def power_w(self, at_ms: int) -> int:
        return self.load_w(at_ms) if self.live else self.backfeed_w

    @property
    def told(self) -> SwitchState:
        """What the meter says of its switch."""
        return self.state if self.has_switch else SwitchState.NOT_FITTED

    def order(self, close: bool, at_ms: int) -> None:
        """An order reached the contactor."""
        self.advance(at_ms)
        if self.stuck or self.removed:
            return
        reached = (SwitchState.ARMED if self.arms else SwitchState.CLOSED) if close else SwitchState.OPEN
        if self.state is not reached:
            self.moves.append((at_ms, close))
        self.state, self.touched = reached, self.touched and self.state is reached

    def by_hand(self, close: bool, at_ms: int) -> None:
        """Somebody at the meter: a button, or a breaker."""
        self.advance(at_ms)
        if self.has_switch:
            self.state, self.touched = SwitchState.CLOSED if close else SwitchState.OPEN, True


@dataclass(slots=True)
class SimPort:
    """The driver's side of a SimMeter. Each exchange yields once: there time passes, the line may fail, the box may die."""

    meter: SimMeter
    now: Callable[[], int]
    true_ms: Callable[[], int]
    witness: Callable[[SimMeter, bool], Callable[[], None]]
    capabilities: frozenset[Capability] = frozenset({Capability.SWITCH, Capability.BALANCE_DISPLAY, Capability.LOAD_SIDE})
    interval_s: int = 900

    def _exchange(self, what: str) -> Talk:
        yield what
        if not self.meter.answers:
            raise LinkDown(f"meter {self.meter.meter_no} does not answer")
        self.meter.advance(self.true_ms())

    def open(self) -> Talk:
        yield from self._exchange("open")

    def close(self) -> Talk:
        yield from self._exchange("close")

    def read_serial(self) -> Talk:
        yield from self._exchange("serial")
        return self.meter.serial

    def read_switch(self) -> Talk:
        yield from self._exchange("switch")
        return self.meter.told

    def read_load_side(self) -> Talk:
        yield from self._exchange("load side")
        return 230_000 if self.meter.live or self.meter.backfeed_w else 0

    def read_instant(self, now: Callable[[], int]) -> Talk:
        yield from self._exchange("instant")
        return (Reading(ENERGY_IMPORT.code, now(), self.meter.register_wh),)

    def arms_on_close(self) -> Talk:
        yield from self._exchange("control mode")
        return self.meter.arms

    def open_switch(self) -> Talk:
        yield from self._move(False)

    def close_switch(self) -> Talk:
        yield from self._move(True)

    def _move(self, close: bool) -> Talk:
        reached = self.witness(self.meter, close)
        yield from self._exchange("order")
        if not self.meter.has_switch:
            raise MeterFault("no switch is fitted")
        reached()
        self.meter.order(close, self.true_ms())
        yield "answer"
        if not self.meter.answers:
            raise LinkDown(f"meter {self.meter.meter_no} does not answer")
