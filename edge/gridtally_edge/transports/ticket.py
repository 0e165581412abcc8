"""One conversation on its way through a line: its generator, its future, how far it has come.

* `begin`, `answered` and `failed` move the generator to its next exchange; None means the future is settled.
* After a failure the conversation may still release its session: a few exchanges with a single try each, and none at
  all when the meter never answered.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from gridtally_edge.protocols.conversation import Conversation, Exchange
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.settings import Speed
from gridtally_shared.errors import LinkDown

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

    def begin(self) -> Exchange | None:
        """First exchange, or the one that was put back. None: nothing to do (cancelled or finished at once)."""
        if self.pending is not None:
            return self.pending
        if not self.future.set_running_or_notify_cancel():
            self.conversation.close()
            return None
        return self._step(lambda: next(self.conversation))

    def answered(self, answer: bytes) -> Exchange | None:
        self.has_answer = True
        return self._step(lambda: self.conversation.send(answer))

    def failed(self, error: LinkDown) -> Exchange | None:
        """Throw the failure into the conversation; what it still wants to say is limited."""
        self.error = self.error or error
        exchange = self._step(lambda: self.conversation.throw(error))
        self.farewells += 1
        if exchange is not None and self.farewells > FAREWELLS:
            self.refuse(self.error)
            return None
        return exchange

    def refuse(self, error: LinkDown) -> None:
        """Settle without another byte on the line."""
        self.abandon(error)

    def abandon(self, error: Exception) -> None:
        """Close the conversation and give its future this error."""
        self.conversation.close()
        if not self.future.done() and (self.future.running() or self.future.set_running_or_notify_cancel()):
            self.future.set_exception(error)

    def _step(self, move: Callable[[], Exchange]) -> Exchange | None:
        self.tries = 0
        try:
            self.pending = move()
        except StopIteration as stop:
            self.pending = None
            self.future.set_result(stop.value)
        except Exception as error:
            self.pending = None
            self.future.set_exception(error)
        return self.pending
