"""Which port of a simulated meter gives way when its local port and the network want it at once (I2FR26).

* HDLC is the local port, the wrapper the network. The rule is the meter's own setting, in force at the next association or push.
* Who has to give way loses its associations: its next request is refused, and it may ask for a new one. Who comes second
  against the rule is told to come again (rejected for now). Either is an event of the meter.
* More network associations than the setting allows are rejected for now, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from enum import Enum
from typing import Protocol

from gridtally_shared.meter_settings import LocalPort, Preemption
from gridtally_shared.records import dataclass


class Door(Enum):
    LOCAL = "local port"
    NETWORK = "network"


class Visitor(Protocol):
    """One link's application."""

    door: Door

    @property
    def associated(self) -> bool: ...

    def abort(self) -> None: ...


_WINNER = {Preemption.NETWORK_WINS: Door.NETWORK, Preemption.LOCAL_WINS: Door.LOCAL}


@dataclass(slots=True)
class Doors:
    """`rule` is the setting in force; `note` is called when one port made the other wait."""

    rule: Callable[[], LocalPort]
    note: Callable[[], None]
    _inside: list[Visitor] = field(default_factory=list, init=False)

    def admits(self, visitor: Visitor) -> bool:
        """Whether an association of this link may open now."""
        self._inside = [other for other in self._inside if other.associated and other is not visitor]
        most = self.rule().sessions if visitor.door is Door.NETWORK else 1
        if sum(other.door is visitor.door for other in self._inside) >= most or not self._gets_through(visitor.door):
            return False
        self._inside.append(visitor)
        return True

    def lets_push(self) -> bool:
        """Whether the meter may send something over the network now."""
        return self._gets_through(Door.NETWORK)

    def _gets_through(self, door: Door) -> bool:
        others = [other for other in self._inside if other.associated and other.door is not door]
        winner = _WINNER.get(Preemption(self.rule().preemption))
        if not others or winner is None:
            return True
        self.note()
        if winner is door:
            for other in others:
                other.abort()
        return winner is door
