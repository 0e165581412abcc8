"""PDUs and data in words, one line each: what `gridtally decode` shows beside the readings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import Attribute, Result
from gridtally_edge.protocols.dlms.acse import ACCEPTED, DIAGNOSTICS, Aare, Aarq, Context, Mechanism, Rlre, Rlrq
from gridtally_edge.protocols.dlms.apdu import Apdu
from gridtally_edge.protocols.dlms.axdr import Bits, CompactArray, Data, Tag
from gridtally_edge.protocols.dlms.ciphering import (
    AUTHENTICATED,
    ENCRYPTED,
    CipheredService,
    GeneralCiphered,
    GeneralDed,
    GeneralGlo,
    Sealed,
)
from gridtally_edge.protocols.dlms.classes import class_of
from gridtally_edge.protocols.dlms.cosem_time import decode_datetime
from gridtally_edge.protocols.dlms.initiate import (
    ConfirmedServiceError,
    Conformance,
    InitiateRequest,
    InitiateResponse,
)
from gridtally_edge.protocols.dlms.list_services import (
    ActionBlockRequest,
    ActionFirstBlockRequest,
    ActionListFirstBlockRequest,
    ActionListRequest,
    ActionListResponse,
    ActionNextResponse,
    Piece,
    SetListFirstBlockRequest,
    SetListLastBlockResponse,
    SetListRequest,
    SetListResponse,
)
from gridtally_edge.protocols.dlms.notification import (
    DataNotification,
    DataNotificationConfirm,
    EventNotification,
    ExceptionResponse,
    GeneralBlock,
)
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
)
from gridtally_shared.errors import MeterFault

MAX_LINES: Final = 200


def describe(apdu: Apdu) -> list[str]:
    """What the PDU says, its name first."""
    return _WORDS[type(apdu)](apdu)


def data_lines(data: Data, indent: str = "  ") -> list[str]:
    """A value as an indented tree, at most MAX_LINES lines."""
    lines: list[str] = []
    for line in _tree(data, indent):
        if len(lines) == MAX_LINES:
            return [*lines, f"{indent}and more"]
        lines.append(line)
    return lines


def _tree(data: Data, indent: str) -> Iterator[str]:
    name = data.tag.name.lower().replace("_", "-")
    items = data.value.items if isinstance(data.value, CompactArray) else data.value
    if isinstance(items, tuple):
        yield f"{indent}{name} of {len(items)}"
        for item in items:
            yield from _tree(item, indent + "  ")
    else:
        yield f"{indent}{name} {_scalar(data)}".rstrip()


def _scalar(data: Data) -> str:
    if isinstance(data.value, Bits):
        return f"{int.from_bytes(data.value.octets, 'big'):0{len(data.value.octets) * 8}b}"[: data.value.count]
    if data.value is None:
        return ""
    if isinstance(data.value, int) or data.tag in (Tag.FLOAT32, Tag.FLOAT64):
        return _number(data)
    octets = axdr.octets_of(data)
    text = axdr.text_of(data)
    return repr(text) if text != octets.hex() else octets.hex(" ")


def _number(data: Data) -> str:
    try:
        value: int | Decimal = axdr.number_of(data)
    except MeterFault as fault:
        return str(fault)
    return str(value)


def _outcome(outcome: Data | Result) -> list[str]:
    return [f"  no value: {outcome}"] if isinstance(outcome, Result) else data_lines(outcome)


def _trailing(octets: bytes) -> list[str]:
    return [f"  {len(octets)} octets behind it: {octets[:16].hex(' ')}"] if octets else []


def _named_attribute(target: Attribute) -> str:
    kind = class_of(target.class_id)
    return f"{target} ({kind.name}: {kind.attribute_name(target.index)})"


def _named_method(target: Attribute) -> str:
    kind = class_of(target.class_id)
    return f"{target} ({kind.name}: {kind.method_name(target.index)})"


def _requested(name: str, apdu: GetRequest | SetRequest | SetFirstBlockRequest) -> str:
    how = {None: "", 1: ", by range", 2: ", by entry"}.get(apdu.selector.kind if apdu.selector else None, ", selected")
    return f"{name} of {_named_attribute(apdu.attribute)}{how}"


def _aarq(apdu: Aarq) -> list[str]:
    mechanism = _named(Mechanism, apdu.mechanism) if apdu.mechanism is not None else "none"
    return [f"association request (AARQ): {_named(Context, apdu.context)}, authentication {mechanism}"]


def _aare(apdu: Aare) -> list[str]:
    verdict = "accepted" if apdu.result == ACCEPTED else "refused"
    reason = DIAGNOSTICS.get(apdu.diagnostic, f"diagnostic {apdu.diagnostic}")
    return [f"association response (AARE): {verdict}, {reason}"]


def _named(kind: type[Context] | type[Mechanism], number: int) -> str:
    try:
        return kind(number).name.lower().replace("_", " ")
    except ValueError:
        return str(number)


def _initiate(name: str, conformance: Conformance, max_pdu: int) -> list[str]:
    services = ", ".join((flag.name or "").lower().replace("_", " ") for flag in conformance)
    return [f"{name}: PDU at most {max_pdu} octets", f"  services: {services}"]


def _sealed(name: str, sealed: Sealed, title: bytes | None) -> list[str]:
    how = [text for bit, text in ((AUTHENTICATED, "authenticated"), (ENCRYPTED, "encrypted")) if sealed.security & bit]
    sender = f" from {title.hex()}" if title else ""
    return [f"{name}{sender}: {' and '.join(how) or 'unprotected'}, invocation counter {sealed.counter}"]


def _notification(apdu: DataNotification) -> list[str]:
    time = f" of {decode_datetime(apdu.time)}" if apdu.time else ""
    return [f"push (data-notification){time}, {len(apdu.body)} octets"]


def _get_block(apdu: GetBlockResponse) -> list[str]:
    block = apdu.block
    size = f"no value: {block.content}" if isinstance(block.content, Result) else f"{len(block.content)} octets"
    short = f", {block.missing} octets short" if block.missing else ""
    return [f"GET answer, block {block.number}{' (last)' if block.last else ''}: {size}{short}"]


def _get_list(apdu: GetListResponse) -> list[str]:
    lines = [f"GET answer with {len(apdu.outcomes)} values"]
    for outcome in apdu.outcomes:
        lines += _outcome(outcome)
    return [*lines, *_trailing(apdu.trailing)]


def _action(apdu: ActionRequest) -> list[str]:
    return [f"ACTION on {_named_method(apdu.method)}", *(data_lines(apdu.parameters) if apdu.parameters else [])]


def _acted(apdu: ActionResponse) -> list[str]:
    return [f"ACTION answer: {apdu.result}", *(_outcome(apdu.outcome) if apdu.outcome else [])]


def _piece(name: str, piece: Piece) -> str:
    return f"{name}, block {piece.number}{' (last)' if piece.last else ''}: {len(piece.octets)} octets"


def _acted_list(apdu: ActionListResponse) -> list[str]:
    lines = [f"ACTION answer with {len(apdu.outcomes)} results"]
    for result, outcome in apdu.outcomes:
        lines += [f"  {result}", *(_outcome(outcome) if outcome else [])]
    return lines


_WORDS: Final[dict[type, Callable[[Any], list[str]]]] = {
    Aarq: _aarq,
    Aare: _aare,
    Rlrq: lambda a: [f"release request (RLRQ), reason {a.reason}"],
    Rlre: lambda a: [f"release response (RLRE), reason {a.reason}"],
    InitiateRequest: lambda a: _initiate("initiate request", a.conformance, a.max_pdu),
    InitiateResponse: lambda a: _initiate("initiate response", a.conformance, a.max_pdu),
    ConfirmedServiceError: lambda a: [f"service {a.service} refused: error class {a.kind}, code {a.value}"],
    GetRequest: lambda a: [_requested("GET", a), *(data_lines(a.selector.parameters) if a.selector else [])],
    GetNextRequest: lambda a: [f"GET, next block after {a.block}"],
    GetListRequest: lambda a: [f"GET of {len(a.attributes)} attributes", *(f"  {_named_attribute(t)}" for t, _ in a.attributes)],
    GetResponse: lambda a: ["GET answer", *_outcome(a.outcome), *_trailing(a.trailing)],
    GetBlockResponse: _get_block,
    GetListResponse: _get_list,
    SetRequest: lambda a: [_requested("SET", a), *data_lines(a.value)],
    SetFirstBlockRequest: lambda a: [f"{_requested('SET', a)}, block {a.number}: {len(a.piece)} octets"],
    SetBlockRequest: lambda a: [f"SET, block {a.number}{' (last)' if a.last else ''}: {len(a.piece)} octets"],
    SetResponse: lambda a: [f"SET answer: {a.result}"],
    SetBlockResponse: lambda a: [f"SET answer: block {a.block} taken"],
    SetLastBlockResponse: lambda a: [f"SET answer: {a.result}, last block {a.block}"],
    ActionRequest: _action,
    ActionNextRequest: lambda a: [f"ACTION, next block after {a.block}"],
    ActionResponse: _acted,
    ActionBlockResponse: lambda a: [f"ACTION answer, block {a.number}: {len(a.piece)} octets"],
    SetListRequest: lambda a: [f"SET of {len(a.targets)} attributes", *(f"  {_named_attribute(t)}" for t, _ in a.targets)],
    SetListFirstBlockRequest: lambda a: [_piece(f"SET of {len(a.targets)} attributes", a.piece)],
    SetListResponse: lambda a: ["SET answer: " + ", ".join(map(str, a.results))],
    SetListLastBlockResponse: lambda a: ["SET answer: " + ", ".join(map(str, a.results)) + f", last block {a.block}"],
    ActionListRequest: lambda a: [f"ACTION on {len(a.methods)} methods", *(f"  {_named_method(m)}" for m in a.methods)],
    ActionFirstBlockRequest: lambda a: [_piece(f"ACTION on {_named_method(a.method)}", a.piece)],
    ActionListFirstBlockRequest: lambda a: [_piece(f"ACTION on {len(a.methods)} methods", a.piece)],
    ActionBlockRequest: lambda a: [_piece("ACTION", a.piece)],
    ActionListResponse: _acted_list,
    ActionNextResponse: lambda a: [f"ACTION answer: block {a.block} taken"],
    DataNotification: _notification,
    DataNotificationConfirm: lambda a: [f"push confirmed, number {a.invoke & 0xFFFFFF}"],
    EventNotification: lambda a: [f"event notification of {_named_attribute(a.attribute)}", *data_lines(a.value)],
    ExceptionResponse: lambda a: [f"exception: {a}" + (f", counter {a.counter} expected" if a.counter else "")],
    GeneralBlock: lambda a: [f"general block transfer, block {a.number}{' (last)' if a.last else ''}"],
    GeneralGlo: lambda a: _sealed("general-glo-ciphering", a.sealed, a.title),
    GeneralDed: lambda a: _sealed("general-ded-ciphering", a.sealed, a.title),
    GeneralCiphered: lambda a: _sealed("general-ciphering", a.sealed, a.title),
    CipheredService: lambda a: _sealed(f"ciphered service 0x{a.tag:02x}", a.sealed, None),
}
