"""Simulated DLMS meters on an in-memory line: random pieces, noise, and damage on demand; no I/O and no clock."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from gridtally_edge.protocols.conversation import Conversation, Exchange
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_shared.clock import ManualClock
from gridtally_shared.errors import LinkDown

T = TypeVar("T")
START_MS = 1_760_000_400_000
PASSWORD = "ABCD0001"


def house(serial: str, clock: ManualClock, seed: int = 1) -> HouseMeter:
    return HouseMeter(HouseSettings(serial, seed, history_days=3), clock)


class Wire:
    """Carries conversations to a slave. `damage` may change or drop an answer by its running number."""

    def __init__(self, *units: DlmsUnit, seed: int = 0, noise: int = 0) -> None:
        self.slave = DlmsSlave(units)
        self.damage: Callable[[int, bytes], bytes] = lambda number, answer: answer
        self.answers = 0
        self.requests: list[bytes] = []
        self._random = random.Random(seed)
        self._noise = noise

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
        for _ in range(exchange.retries + 1):
            received = b""
            self.slave.forget()
            for piece in self._pieces(self._noise_octets() + self._heard(exchange.request)):
                received += self._answered(self.slave.receive(piece))
            found = self._find(exchange, self._noise_octets() + received + self._noise_octets())
            if found is not None:
                return found
        return None

    def _heard(self, request: bytes) -> bytes:
        self.requests.append(request)
        return request

    def _answered(self, answer: bytes) -> bytes:
        if not answer:
            return b""
        self.answers += 1
        return self.damage(self.answers, answer)

    def _find(self, exchange: Exchange, received: bytes) -> bytes | None:
        arrived = b""
        for piece in self._pieces(received):
            arrived += piece
            found = exchange.find_answer(arrived)
            if found is not None:
                return arrived[found.start : found.end]
        return None

    def _pieces(self, octets: bytes) -> list[bytes]:
        pieces = []
        while octets:
            size = self._random.randint(1, 40)
            pieces.append(octets[:size])
            octets = octets[size:]
        return pieces

    def _noise_octets(self) -> bytes:
        return self._random.randbytes(self._random.randint(0, self._noise)) if self._noise else b""
