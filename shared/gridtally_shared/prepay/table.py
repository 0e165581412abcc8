"""What a row of the engine's table is: region, from, guard, to, effects; and the few makers rows are written with.

* A row with a verdict writes evidence: the tests that were asked, whatever they said.
* `on` makes a row answer to a happening only; all others are level-triggered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from typing import Any

from gridtally_shared.prepay.facts import Happening
from gridtally_shared.prepay.situation import Situation
from gridtally_shared.records import dataclass


class Effect(StrEnum):
    """What is to be done after a transition; whoever runs the engine maps each to an act."""

    LOAD_RULES = "load_rules"
    TELL_LOW = "tell_low"
    TELL_ZERO = "tell_zero"
    TELL_OFFER = "tell_offer"
    TELL_EMERGENCY = "tell_emergency"
    TELL_OVERDRAWN = "tell_overdrawn"
    TELL_PROTECTED = "tell_protected"
    TELL_TRIPPED = "tell_tripped"
    TELL_LOCKED = "tell_locked"
    TELL_STAYS_ON = "tell_stays_on"
    HOLD = "hold"
    ORDER_OPEN = "order_open"
    ORDER_CLOSE = "order_close"
    WITHDRAW = "withdraw"
    WITHDRAW_CLOSE = "withdraw_close"
    WITHDRAW_TRIP = "withdraw_trip"
    SET_LIMIT = "set_limit"
    LIFT_LIMIT = "lift_limit"
    TRIP = "trip"
    RECLOSE = "reclose"
    ASK_MODE = "ask_mode"
    ASK_PAYMENT = "ask_payment"
    ASK_FIELD = "ask_field"
    TELL_FIELD = "tell_field"
    CALL_BACK = "call_back"
    CONVERT = "convert"
    RECOVER = "recover"
    REBIND = "rebind"
    ASK_DORMANT = "ask_dormant"
    REPORT_TAMPER = "report_tamper"


CLOSES = frozenset({Effect.ORDER_CLOSE, Effect.RECLOSE})
ORDERS = CLOSES | {Effect.ORDER_OPEN, Effect.TRIP}
Guard = Callable[[Situation], bool]
Note = Callable[[Situation], Mapping[str, Any]]
State = Enum


@dataclass(frozen=True, slots=True)
class Row:
    """`to` None stays; `note` gives further changes of the standing, `place` of the regions."""

    id: str
    region: str
    source: frozenset[State] | None
    guard: Guard
    to: State | Callable[[Situation], State] | None
    effects: tuple[Effect, ...] = ()
    note: Note | None = None
    place: Note | None = None
    on: Happening | None = None
    verdict: str = ""

    @property
    def acts(self) -> bool:
        """Whether it orders the switch."""
        return not ORDERS.isdisjoint(self.effects)

    def starts_from(self, state: State) -> bool:
        return self.source is None or state in self.source

    def target(self, s: Situation) -> State:
        if callable(self.to):
            return self.to(s)
        state: State = self.to if self.to is not None else getattr(s.regions, self.region)
        return state


def of(*states: State) -> frozenset[State]:
    return frozenset(states)


def always(s: Situation) -> bool:
    return True


def keep(**changes: Any) -> Note:
    return lambda s: changes


def now(*names: str, **changes: Any) -> Note:
    return lambda s: {**dict.fromkeys(names, s.now_ms), **changes}
