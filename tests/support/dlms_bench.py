"""Carries DLMS conversations to anything that answers octets with octets, as a line does: retries, rests, losses.

* `tape` is all that went over the line, in order.
* What comes behind an answer is kept for a following exchange without a request, and dropped by the next request.
* `damage` may change, drop or double an answer by its running number; `deaf` requests never reach the other side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gridtally_edge.protocols.conversation import Conversation, Exchange
from gridtally_shared.errors import LinkDown

T = TypeVar("T")


class Bench:
    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.exchanges: list[Exchange] = []
        self.answers: list[bytes] = []
        self.tape = b""
        self.deaf: set[int] = set()
        self.damage: Callable[[int, bytes], bytes] = lambda number, answer: answer
        self._rest = b""

    def run(self, conversation: Conversation[T]) -> T:
        """To its end; what it raises comes out."""
        try:
            exchange = next(conversation)
            while True:
                answer = self._exchange(exchange)
                if answer is None:
                    exchange = conversation.throw(LinkDown("silence"))
                else:
                    exchange = conversation.send(answer)
        except StopIteration as end:
            return end.value

    def _exchange(self, exchange: Exchange) -> bytes | None:
        self.exchanges.append(exchange)
        for _ in range(1 + (exchange.retries if exchange.repeatable else 0)):
            received = self._received(exchange.request)
            found = exchange.find_answer(received) if received else None
            if found is not None:
                self._rest = received[found.end :]
                return received[found.start : found.end]
        return None

    def _received(self, request: bytes) -> bytes:
        if not request:
            rest, self._rest = self._rest, b""
            return rest
        self._rest = b""
        self.requests.append(request)
        self.tape += request
        if len(self.requests) in self.deaf:
            return b""
        answer = self._answer(request)
        if answer:
            self.answers.append(answer)
            answer = self.damage(len(self.answers), answer)
            self.tape += answer
        return answer
