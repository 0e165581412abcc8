"""What a switch apart from the meter can do, and how its contacts are read.

* `prove` makes sure that the right board answers, as far as the board can say who it is.
* The feedback contact decides. Where order and contact disagree the state is UNKNOWN: never a guess.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.protocols.conversation import Conversation

LOOKS = 4
NOT_THERE = -1
Pause = Callable[[float], None]
"""Waits so many seconds. The line is held meanwhile, as it is for any conversation."""


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


class Outputs(Protocol):
    """What carries a switch: coils to drive and contacts to look at, by number."""

    def prove(self) -> Conversation[None]: ...

    def guard(self) -> Conversation[None]:
        """See that the outputs let go by themselves when nobody speaks to them, where they can."""
        ...

    def coil(self, coil: int) -> Conversation[bool]: ...

    def contact(self, contact: int) -> Conversation[bool]: ...

    def drive(self, coil: int, on: bool) -> Conversation[None]: ...


class Switch(Protocol):
    def prove(self) -> Conversation[None]:
        """Raises MeterFault when another board answers."""
        ...

    def read(self) -> Conversation[SwitchState]: ...

    def order(self, close: bool) -> Conversation[None]:
        """Give the order and wait until the contact has had its time. What came of it `read` tells."""
        ...


class FeedbackOn(Enum):
    """When the feedback input is on. OPEN is the safe wiring: a broken wire reads as "supply on", never as a cut done."""

    OPEN = "open"
    CLOSED = "closed"


def contact_state(is_on: bool, feedback_on: FeedbackOn) -> SwitchState:
    return SwitchState.OPEN if is_on is (feedback_on is FeedbackOn.OPEN) else SwitchState.CLOSED


def agreed(ordered: SwitchState, contact: SwitchState | None) -> SwitchState:
    """The state that order and contact agree on. Without a contact only the order is known."""
    return ordered if contact in (None, ordered) else SwitchState.UNKNOWN
