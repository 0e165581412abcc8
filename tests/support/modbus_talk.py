"""Carry out a conversation against slaves without a line in between."""

from collections.abc import Callable
from typing import Any

from gridtally_edge.protocols.conversation import Conversation
from gridtally_shared.errors import LinkDown

Answer = Callable[[bytes], bytes]


def converse(conversation: Conversation[Any], *answers: Answer) -> tuple[Any, list[bytes]]:
    """The conversation's result and its requests. Each of `answers` hears every request; who stays silent is a LinkDown."""
    requests: list[bytes] = []
    try:
        exchange = next(conversation)
        while True:
            requests.append(exchange.request)
            octets = b"".join(answer(exchange.request) for answer in answers)
            found = exchange.find_answer(octets)
            if found is None:
                exchange = conversation.throw(LinkDown("no answer"))
            else:
                exchange = conversation.send(octets[found.start : found.end])
    except StopIteration as stop:
        return stop.value, requests


def requests_until(error: type[Exception], conversation: Conversation[Any], *answers: Answer) -> tuple[str, list[bytes]]:
    """As `converse` for a conversation that ends in `error`: what it says, and the requests until then."""
    requests: list[bytes] = []

    def noting(request: bytes) -> bytes:
        requests.append(request)
        return b""

    try:
        converse(conversation, noting, *answers)
    except error as raised:
        return str(raised), requests
    raise AssertionError(f"no {error.__name__}")
