"""One conversation on its way through a line: its generator, its future, how far it has come.

* `begin`, `answered` and `failed` move the generator to its next exchange; None means the future is settled.
* After a failure the conversation may still release its session: a few exchanges with a single try each, and none at
  all when the meter never answered. What a protocol repeats by itself is no such farewell.
* A conversation that rests for a more urgent one keeps its pending exchange and goes on with it.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import field
from typing import Any

from gridtally_edge.protocols.conversation import Conversation, Exchange, GivesWay
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.settings import Speed
from gridtally_shared.errors import LinkDown
from gridtally_shared.records import dataclass

FAREWELLS = 3


@dataclass(slots=True)
class Ticket:
    conversation: Conversation[Any]
    priority: Priority
    meter_key: str
    speed: Speed
    future: Future[Any] = field(default_factory=Future)
    pending: Exchange | None = None
    tries: int = 0
    has_answer: bool = False
    error: LinkDown | None = None
    farewells: int = 0
    begun_s: float = 0.0

    @property
    def has_session(self) -> bool:
        """Whether it holds its meter's session open, so that nobody else may speak to that meter."""
        return self.pending is not None and self.pending.gives_way is GivesWay.OTHER_METERS

    def begin(self) -> Exchange | None:
        """First exchange, or the one that was put back. None: nothing to do (cancelled or finished at once)."""
        if self.pending is not None:
            return self.pending
        if not self.future.set_running_or_notify_cancel():
            self.conversation.close()
            return None
        try:
            self.pending = next(self.conversation)
        except StopIteration as stop:
            self._finish(stop.value)
        except Exception as error:
            self._fail(error)
        return self.pending

    def answered(self, answer: bytes) -> Exchange | None:
        """Go on with an answer. A silence that the protocol has repaired by itself (RR behind a lost frame) is forgotten."""
        self.has_answer, self.tries = self.has_answer or bool(answer), 0
        if answer:
            self.error, self.farewells = None, 0
        try:
            self.pending = self.conversation.send(answer)
        except StopIteration as stop:
            self._finish(stop.value)
        except Exception as error:
            self._fail(error)
        return self.pending

    def failed(self, error: LinkDown) -> Exchange | None:
        """Throw the failure into the conversation; what it still wants to say is limited."""
        self.error, self.tries = self.error or error, 0
        try:
            self.pending = self.conversation.throw(error)
        except StopIteration as stop:
            self._finish(stop.value)
        except Exception as fault:
            self._fail(fault)
        self.farewells += not (self.pending and self.pending.again)
        if self.pending is not None and self.farewells > FAREWELLS:
            self.refuse(self.error)
            return None
        return self.pending

    def missed(self, error: LinkDown) -> Exchange | None:
        """Throw the silence of a device beside the meter into the conversation: it says nothing of the meter."""
        self.tries = 0
        try:
            self.pending = self.conversation.throw(error)
        except StopIteration as stop:
            self._finish(stop.value)
        except Exception as fault:
            self._fail(fault)
        return self.pending

    def refuse(self, error: LinkDown) -> None:
        """Settle without another byte on the line."""
        self.abandon(error)

    def abandon(self, error: Exception) -> None:
        """Close the conversation and give its future this error."""
        self.conversation.close()
        if not self.future.done() and (self.future.running() or self.future.set_running_or_notify_cancel()):
            self.future.set_exception(error)

    def _finish(self, value: Any) -> None:
        self.pending = None
        self.future.set_result(value)

    def _fail(self, error: Exception) -> None:
        self.pending = None
        self.future.set_exception(error)
