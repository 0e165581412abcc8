"""The meter's DLMS application: associations, GET with blocks and lists, SET, ACTION, on top of a table of objects.

Client 16 is the public client (clock and identity only), every other client needs the password (LLS), IS 15959 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessResult, Attribute, Result, Selector
from gridtally_edge.protocols.dlms.acse import Aare, Aarq, Context, Mechanism, Rlre, Rlrq
from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from gridtally_edge.protocols.dlms.notification import ExceptionResponse
from gridtally_edge.protocols.dlms.services import (
    ActionRequest,
    ActionResponse,
    Block,
    GetBlockResponse,
    GetListRequest,
    GetListResponse,
    GetNextRequest,
    GetRequest,
    GetResponse,
    SetRequest,
    SetResponse,
)
from gridtally_shared.errors import MeterFault
from gridtally_shared.obis import Obis

PUBLIC_CLIENT: Final = 16
_PUBLIC: Final = frozenset({Obis.of("0.0.42.0.0.255"), Obis.of("0.0.96.1.0.255"), Obis.of("0.0.1.0.0.255")})
_SUPPORTED: Final = (
    Conformance.PRIORITY
    | Conformance.BLOCK_GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
)
_REFUSED, _NO_REASON, _AUTHENTICATION_FAILED = 1, 1, 13
_NOT_ALLOWED: Final = ExceptionResponse(1, 1).octets()
_NOT_UNDERSTOOD: Final = ExceptionResponse(2, 2).octets()


class Objects(Protocol):
    """The COSEM objects of one meter."""

    def get(self, attribute: Attribute, selector: Selector | None) -> Data | Result: ...

    def set(self, attribute: Attribute, value: Data) -> Result: ...

    def act(self, method: Attribute, parameters: Data | None) -> Result: ...


@dataclass(slots=True)
class CosemServer:
    """One meter's application. `max_pdu` is the largest PDU it sends; longer values go out in blocks."""

    objects: Objects
    password: bytes = field(repr=False)
    max_pdu: int = 512
    _client: int = field(default=0, init=False)
    _associated: bool = field(default=False, init=False)
    _limit: int = field(default=512, init=False)
    _pending: bytes = field(default=b"", init=False)
    _block: int = field(default=0, init=False)

    def start(self, client: int) -> None:
        self._client, self._associated, self._pending = client, False, b""

    def handle(self, apdu: bytes) -> bytes:
        """The answer's PDU; nonsense gets an exception response."""
        try:
            request = decode_apdu(apdu)
        except MeterFault:
            return _NOT_UNDERSTOOD
        if isinstance(request, Aarq):
            return self._associate(request)
        if not self._associated:
            return _NOT_ALLOWED
        serve = _SERVICES.get(type(request))
        return serve(self, request) if serve else _NOT_UNDERSTOOD

    def _associate(self, request: Aarq) -> bytes:
        self._associated = self._may_associate(request)
        if not self._associated:
            diagnostic = _AUTHENTICATION_FAILED if request.context == Context.LOGICAL_NAME else _NO_REASON
            return Aare(Context.LOGICAL_NAME, _REFUSED, diagnostic).octets()
        wanted = _initiate(request)
        self._limit = min(self.max_pdu, wanted.max_pdu or self.max_pdu)
        granted = InitiateResponse(wanted.conformance & _SUPPORTED, self.max_pdu)
        return Aare(Context.LOGICAL_NAME, 0, 0, initiate=granted.octets()).octets()

    def _may_associate(self, request: Aarq) -> bool:
        if request.context != Context.LOGICAL_NAME:
            return False
        if self._client == PUBLIC_CLIENT:
            return request.mechanism is None
        return request.mechanism == Mechanism.LLS and request.secret == self.password

    def _release(self, request: Rlrq) -> bytes:
        self._associated = False
        return Rlre(0).octets()

    def _get(self, request: GetRequest) -> bytes:
        answer = GetResponse(request.invoke, self._read(request.attribute, request.selector))
        octets = answer.octets()
        if len(octets) <= self._limit or isinstance(answer.outcome, Result):
            return octets
        self._pending, self._block = axdr.encode(answer.outcome), 0
        return self._next_block(request.invoke)

    def _get_next(self, request: GetNextRequest) -> bytes:
        if not self._pending or request.block != self._block:
            wrong = Block(True, request.block, Result(AccessResult.DATA_BLOCK_NUMBER_INVALID))
            return GetBlockResponse(request.invoke, wrong).octets()
        return self._next_block(request.invoke)

    def _next_block(self, invoke: int) -> bytes:
        size = self._limit - 12
        piece, self._pending = self._pending[:size], self._pending[size:]
        self._block += 1
        return GetBlockResponse(invoke, Block(not self._pending, self._block, piece)).octets()

    def _get_list(self, request: GetListRequest) -> bytes:
        outcomes = tuple(self._read(attribute, selector) for attribute, selector in request.attributes)
        return GetListResponse(request.invoke, outcomes).octets()

    def _read(self, attribute: Attribute, selector: Selector | None) -> Data | Result:
        if self._client == PUBLIC_CLIENT and attribute.obis not in _PUBLIC:
            return Result(AccessResult.READ_WRITE_DENIED)
        return self.objects.get(attribute, selector)

    def _set(self, request: SetRequest) -> bytes:
        denied = self._client == PUBLIC_CLIENT
        result = Result(AccessResult.READ_WRITE_DENIED)
        return SetResponse(request.invoke, result if denied else self.objects.set(request.attribute, request.value)).octets()

    def _act(self, request: ActionRequest) -> bytes:
        denied = self._client == PUBLIC_CLIENT
        result = Result(AccessResult.READ_WRITE_DENIED)
        return ActionResponse(request.invoke, result if denied else self.objects.act(request.method, request.parameters)).octets()


def _initiate(request: Aarq) -> InitiateRequest:
    try:
        wanted = decode_apdu(request.initiate or b"")
    except MeterFault:
        return InitiateRequest(_SUPPORTED)
    return wanted if isinstance(wanted, InitiateRequest) else InitiateRequest(_SUPPORTED)


_SERVICES: Final[dict[type, Callable[[CosemServer, Any], bytes]]] = {
    Rlrq: CosemServer._release,
    GetRequest: CosemServer._get,
    GetNextRequest: CosemServer._get_next,
    GetListRequest: CosemServer._get_list,
    SetRequest: CosemServer._set,
    ActionRequest: CosemServer._act,
}
