"""GET, SET and ACTION within an association: single, with lists, in blocks both ways (IEC 62056-5-3, 9.3.6 to 9.3.8).

* A list is asked one by one where the meter does not grant lists. A long SET or ACTION goes in blocks of the service
  where they are granted, else whole (general block transfer cuts it below).
* Octets behind a value are passed over; a long value is at most `MAX_VALUE` octets, and blocks are counted.
* What a blocked ACTION gives back stands there bare or behind its choice octet, both are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessDenied, Attribute, Result, Selector
from gridtally_edge.protocols.dlms.apdu import Apdu
from gridtally_edge.protocols.dlms.association import Association, expect
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.initiate import Conformance
from gridtally_edge.protocols.dlms.list_services import (
    ActionBlockRequest,
    ActionFirstBlockRequest,
    ActionListRequest,
    ActionListResponse,
    ActionNextResponse,
    Piece,
    SetListRequest,
    SetListResponse,
)
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_edge.protocols.dlms.services import (
    ActionBlockResponse,
    ActionNextRequest,
    ActionRequest,
    ActionResponse,
    GetBlockResponse,
    GetListRequest,
    GetListResponse,
    GetNextRequest,
    GetRequest,
    GetResponse,
    SetBlockRequest,
    SetBlockResponse,
    SetFirstBlockRequest,
    SetLastBlockResponse,
    SetRequest,
    SetResponse,
    read_outcome,
)
from gridtally_shared.errors import MeterFault

MAX_VALUE: Final = 1 << 20
MAX_BLOCKS: Final = 20_000
_BLOCK_HEAD: Final = 12
Target = tuple[Attribute, Selector | None]


def get(link: Association, attribute: Attribute, selector: Selector | None = None) -> Conversation[Data]:
    request = GetRequest(link.next_invoke(), attribute, selector)
    answer = yield from link.call(request.octets(), request.invoke)
    if isinstance(answer, GetBlockResponse):
        return axdr.read_data(Reader((yield from _blocks(link, attribute, answer))))
    outcome = expect(answer, GetResponse).outcome
    if isinstance(outcome, Result):
        raise AccessDenied(attribute, outcome)
    return outcome


def get_list(link: Association, targets: tuple[Target, ...]) -> Conversation[tuple[Data | Result, ...]]:
    if len(targets) < 2 or not link.grants(Conformance.MULTIPLE_REFERENCES):
        return (yield from _one_by_one(link, targets))
    request = GetListRequest(link.next_invoke(), targets)
    answer = yield from link.call(request.octets(), request.invoke)
    if isinstance(answer, GetBlockResponse):
        reader = Reader((yield from _blocks(link, targets[0][0], answer)))
        outcomes = tuple([read_outcome(reader) for _ in range(reader.length())])
    else:
        outcomes = expect(answer, GetListResponse).outcomes
    return _as_many(outcomes, len(targets))


def _one_by_one(link: Association, targets: tuple[Target, ...]) -> Conversation[tuple[Data | Result, ...]]:
    outcomes: list[Data | Result] = []
    for attribute, selector in targets:
        try:
            outcomes.append((yield from get(link, attribute, selector)))
        except AccessDenied as denied:
            outcomes.append(denied.result)
    return tuple(outcomes)


def _as_many(outcomes: tuple[Data | Result, ...], count: int) -> tuple[Data | Result, ...]:
    if len(outcomes) != count:
        raise MeterFault(f"{len(outcomes)} values for {count} attributes")
    return outcomes


def _blocks(link: Association, attribute: Attribute, answer: GetBlockResponse) -> Conversation[bytes]:
    """The octets of all blocks, the first of which is here."""
    value, number = b"", 1
    while True:
        block = answer.block
        if isinstance(block.content, Result):
            raise AccessDenied(attribute, block.content)
        _check_block(str(attribute), block.number, number, len(value))
        value += block.piece()
        if block.last:
            return value
        request = GetNextRequest(answer.invoke, number)
        answer = expect((yield from link.call(request.octets(), request.invoke)), GetBlockResponse)
        number += 1


def _check_block(what: str, came: int, due: int, octets: int) -> None:
    if came != due or due > MAX_BLOCKS or octets > MAX_VALUE:
        raise MeterFault(f"{what}: block {came} came, {due} was due")


def set_value(link: Association, attribute: Attribute, value: Data, selector: Selector | None = None) -> Conversation[None]:
    request = SetRequest(link.next_invoke(), attribute, selector, value)
    if len(request.octets()) > link.room and link.grants(Conformance.BLOCK_SET):
        answer = yield from _set_in_blocks(link, request)
    else:
        answer = yield from link.call(request.octets(), request.invoke, repeatable=False)
    if not isinstance(answer, SetResponse | SetLastBlockResponse):
        answer = expect(answer, SetResponse)
    if not answer.result.ok:
        raise AccessDenied(attribute, answer.result)


def _set_in_blocks(link: Association, request: SetRequest) -> Conversation[Apdu]:
    def build(piece: Piece) -> bytes:
        parts = (piece.last, piece.number, piece.octets)
        if piece.number == 1:
            return SetFirstBlockRequest(request.invoke, request.attribute, request.selector, *parts).octets()
        return SetBlockRequest(request.invoke, *parts).octets()

    head = SetFirstBlockRequest(request.invoke, request.attribute, request.selector, False, 1, b"").octets()
    return (yield from _send_pieces(link, axdr.encode(request.value), request.invoke, len(head), build, SetBlockResponse))


def _send_pieces(
    link: Association,
    value: bytes,
    invoke: int,
    head: int,
    build: Callable[[Piece], bytes],
    taken: type[SetBlockResponse] | type[ActionNextResponse],
) -> Conversation[Apdu]:
    """Send a long value block by block; the answer to the last block."""
    size = max(link.room - max(head, _BLOCK_HEAD) - 3, 16)
    pieces = [value[at : at + size] for at in range(0, len(value), size)]
    for number, octets in enumerate(pieces[:-1], 1):
        answer = yield from link.call(build(Piece(False, number, octets)), invoke, repeatable=False)
        if not isinstance(answer, taken):
            return answer
        _check_block("a long request", answer.block, number, 0)
    return (yield from link.call(build(Piece(True, len(pieces), pieces[-1])), invoke, repeatable=False))


def set_list(link: Association, values: tuple[tuple[Attribute, Data], ...]) -> Conversation[tuple[Result, ...]]:
    request = SetListRequest(link.next_invoke(), tuple((a, None) for a, _ in values), tuple(v for _, v in values))
    octets = request.octets()
    if len(values) > 1 and link.grants(Conformance.MULTIPLE_REFERENCES) and len(octets) <= link.room:
        answer = yield from link.call(octets, request.invoke, repeatable=False)
        results = expect(answer, SetListResponse).results
        if len(results) != len(values):
            raise MeterFault(f"{len(results)} results for {len(values)} attributes")
        return results
    return (yield from _set_one_by_one(link, values))


def _set_one_by_one(link: Association, values: tuple[tuple[Attribute, Data], ...]) -> Conversation[tuple[Result, ...]]:
    results = []
    for attribute, value in values:
        try:
            yield from set_value(link, attribute, value)
            results.append(Result(0))
        except AccessDenied as denied:
            results.append(denied.result)
    return tuple(results)


def act(link: Association, method: Attribute, parameters: Data | None) -> Conversation[Data | None]:
    request = ActionRequest(link.next_invoke(), method, parameters)
    if parameters and len(request.octets()) > link.room and link.grants(Conformance.BLOCK_ACTION):
        answer = yield from _act_in_blocks(link, request.invoke, method, parameters)
    else:
        answer = yield from link.call(request.octets(), request.invoke, repeatable=False)
    if isinstance(answer, ActionBlockResponse):
        return _given_back(method, (yield from _action_blocks(link, answer)))
    answer = expect(answer, ActionResponse)
    if not answer.result.ok:
        raise AccessDenied(method, answer.result)
    return answer.outcome if isinstance(answer.outcome, Data) else None


def _act_in_blocks(link: Association, invoke: int, method: Attribute, parameters: Data) -> Conversation[Apdu]:
    def build(piece: Piece) -> bytes:
        first = ActionFirstBlockRequest(invoke, method, piece)
        return (first if piece.number == 1 else ActionBlockRequest(invoke, piece)).octets()

    head = ActionFirstBlockRequest(invoke, method, Piece(False, 1, b"")).octets()
    return (yield from _send_pieces(link, axdr.encode(parameters), invoke, len(head), build, ActionNextResponse))


def _action_blocks(link: Association, answer: ActionBlockResponse) -> Conversation[bytes]:
    value, number = b"", 1
    while True:
        _check_block("an answer to ACTION", answer.number, number, len(value))
        value += answer.piece
        if answer.last:
            return value
        request = ActionNextRequest(answer.invoke, number)
        answer = expect((yield from link.call(request.octets(), request.invoke)), ActionBlockResponse)
        number += 1


def _given_back(method: Attribute, octets: bytes) -> Data:
    try:
        return axdr.decode(octets)
    except MeterFault:
        outcome = read_outcome(Reader(octets))
    if isinstance(outcome, Result):
        raise AccessDenied(method, outcome)
    return outcome


def act_list(link: Association, calls: tuple[tuple[Attribute, Data], ...]) -> Conversation[tuple[Data | Result | None, ...]]:
    request = ActionListRequest(link.next_invoke(), tuple(m for m, _ in calls), tuple(p for _, p in calls))
    octets = request.octets()
    if len(calls) < 2 or not link.grants(Conformance.MULTIPLE_REFERENCES) or len(octets) > link.room:
        return (yield from _act_one_by_one(link, calls))
    answer = yield from link.call(octets, request.invoke, repeatable=False)
    outcomes = expect(answer, ActionListResponse).outcomes
    if len(outcomes) != len(calls):
        raise MeterFault(f"{len(outcomes)} results for {len(calls)} methods")
    return tuple(outcome if result.ok else result for result, outcome in outcomes)


def _act_one_by_one(
    link: Association, calls: tuple[tuple[Attribute, Data], ...]
) -> Conversation[tuple[Data | Result | None, ...]]:
    outcomes: list[Data | Result | None] = []
    for method, parameters in calls:
        try:
            outcomes.append((yield from act(link, method, parameters)))
        except AccessDenied as denied:
            outcomes.append(denied.result)
    return tuple(outcomes)
