"""Simulated M-Bus meters on one wire without a line: conversations run against them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.simulators.bus import Slave
from gridtally_shared.errors import LinkDown

T = TypeVar("T")


def superposed(answers: list[bytes]) -> bytes:
    """What a master hears of several meters at once: the currents add up, so a bit is 0 where any of them sends 0."""
    heard = bytearray(max(map(len, answers), default=0))
    for place in range(len(heard)):
        octet = 0xFF
        for answer in answers:
            octet &= answer[place] if place < len(answer) else 0xFF
        heard[place] = octet
    return bytes(heard)


def converse(conversation: Conversation[T], slaves: Sequence[Slave], sent: list[bytes] | None = None) -> T:
    """The conversation's result; silence is thrown in as LinkDown, as a line does. Octets behind an answer are kept for
    exchanges without a request."""
    rest = b""
    try:
        exchange = next(conversation)
        while True:
            heard = _heard(slaves, exchange.request, sent) if exchange.request else rest
            found = exchange.find_answer(heard)
            if not exchange.timeout_ms:
                exchange = conversation.send(b"")
            elif found is None:
                exchange = conversation.throw(LinkDown("nobody answers"))
            else:
                rest = heard[found.end :]
                exchange = conversation.send(heard[found.start : found.end])
    except StopIteration as stop:
        result: T = stop.value
        return result


def _heard(slaves: Sequence[Slave], request: bytes, sent: list[bytes] | None) -> bytes:
    if sent is not None:
        sent.append(request)
    return superposed([a for a in (slave.receive(request) for slave in slaves) if a])
