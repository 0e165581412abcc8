"""GET, SET and ACTION of a simulated meter: single, with lists, in blocks both ways (IEC 62056-5-3, 9.3.6 to 9.3.8).

* A value too long for the PDU size agreed on goes out in blocks; `whole` leaves that to general block transfer.
* A long SET or ACTION is gathered block by block and carried out when the last one is there. A block that is not the
  next one ends it.
* Oddities put octets behind a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any, Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessResult, Attribute, Result, Selector, attribute
from gridtally_edge.protocols.dlms.apdu import Apdu
from gridtally_edge.protocols.dlms.axdr import Data
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
    read_values,
)
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_edge.protocols.dlms.services import (
    ActionBlockResponse,
    ActionNextRequest,
    ActionRequest,
    ActionResponse,
    Block,
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
from gridtally_edge.simulators.dlms_access import Account
from gridtally_edge.simulators.dlms_association import ASSOCIATION, act_on_association, read_association, write_association
from gridtally_edge.simulators.dlms_device import DENIED, DONE, CosemDevice
from gridtally_edge.simulators.dlms_quirks import Quirk
from gridtally_shared.records import dataclass

_BLOCK_HEAD: Final = 12
_TRAILING: Final = b"\x00\x00\x00\x00"
_CLOCK: Final = attribute(8, "0.0.1.0.0.255", 2)
_WRONG_NUMBER: Final = Result(AccessResult.DATA_BLOCK_NUMBER_INVALID)
MAX_VALUE: Final = 1 << 20
Finish = Callable[[bytes, int], bytes]


@dataclass(slots=True)
class Gathering:
    """A long request as far as it has come; `finish` carries it out, given its octets and last block number."""

    finish: Finish
    taken: type[SetBlockResponse] | type[ActionNextResponse]
    number: int = 0
    octets: bytes = b""


@dataclass(slots=True)
class Services:
    """What one association asks. `limit` is the longest PDU, `overhead` what ciphering adds to it."""

    device: CosemDevice
    limit: int = 512
    overhead: int = 0
    whole: bool = False
    _account: Account | None = field(default=None, init=False)
    _pending: bytes = field(default=b"", init=False)
    _block: int = field(default=0, init=False)
    _gathering: Gathering | None = field(default=None, init=False)

    def start(self, account: Account | None) -> None:
        self._account, self._pending, self._gathering = account, b"", None

    def serve(self, request: Apdu) -> bytes:
        """The answer; empty for a service the meter does not know."""
        serve = _SERVICES.get(type(request))
        return serve(self, request) if serve else b""

    # GET

    def _get(self, request: GetRequest) -> bytes:
        outcome = self._read(request.attribute, request.selector)
        octets = GetResponse(request.invoke, outcome).octets()
        if self._fits(octets) or isinstance(outcome, Result):
            return octets + self._behind(request.attribute, outcome)
        return self._first_block(request.invoke, axdr.encode(outcome))

    def _behind(self, target: Attribute, outcome: Data | Result) -> bytes:
        """Octets that do not belong there, where an oddity asks for them."""
        if isinstance(outcome, Result):
            return b""
        if self.device.quirks.acts(Quirk.DOUBLE_CLOCK, lambda: target == _CLOCK):
            return axdr.encode(outcome)
        return _TRAILING if self.device.quirks.acts(Quirk.TRAILING) else b""

    def _get_list(self, request: GetListRequest) -> bytes:
        outcomes = tuple(self._read(target, selector) for target, selector in request.attributes)
        octets = GetListResponse(request.invoke, outcomes).octets()
        return octets if self._fits(octets) else self._first_block(request.invoke, octets[3:])

    def _get_next(self, request: GetNextRequest) -> bytes:
        if not self._pending or request.block != self._block:
            self._pending = b""
            return GetBlockResponse(request.invoke, Block(True, request.block, _WRONG_NUMBER)).octets()
        return self._next_block(request.invoke)

    def _first_block(self, invoke: int, octets: bytes) -> bytes:
        self._pending, self._block = octets, 0
        return self._next_block(invoke)

    def _next_block(self, invoke: int) -> bytes:
        piece = self._next_piece()
        return GetBlockResponse(invoke, Block(not self._pending, self._block, piece)).octets()

    def _next_piece(self) -> bytes:
        size = max(self.limit - _BLOCK_HEAD - self.overhead, 1)
        piece, self._pending = self._pending[:size], self._pending[size:]
        self._block += 1
        return piece

    def _fits(self, octets: bytes) -> bool:
        return self.whole or len(octets) + self.overhead <= self.limit

    # SET

    def _set(self, request: SetRequest) -> bytes:
        return SetResponse(request.invoke, self._write(request.attribute, request.value)).octets()

    def _set_list(self, request: SetListRequest) -> bytes:
        results = self._write_all(tuple(target for target, _ in request.targets), request.values)
        return SetListResponse(request.invoke, results).octets()

    def _set_first(self, request: SetFirstBlockRequest) -> bytes:
        def finish(octets: bytes, number: int) -> bytes:
            result = self._write(request.attribute, axdr.decode(octets))
            return SetLastBlockResponse(request.invoke, result, number).octets()

        return self._gather(request.invoke, finish, SetBlockResponse, Piece(request.last, request.number, request.piece))

    def _set_list_first(self, request: SetListFirstBlockRequest) -> bytes:
        def finish(octets: bytes, number: int) -> bytes:
            results = self._write_all(tuple(target for target, _ in request.targets), read_values(Reader(octets)))
            return SetListLastBlockResponse(request.invoke, results, number).octets()

        return self._gather(request.invoke, finish, SetBlockResponse, request.piece)

    def _set_block(self, request: SetBlockRequest) -> bytes:
        return self._go_on(request.invoke, Piece(request.last, request.number, request.piece))

    # ACTION

    def _act(self, request: ActionRequest) -> bytes:
        return self._acted(request.invoke, self._run(request.method, request.parameters))

    def _acted(self, invoke: int, outcome: Data | Result) -> bytes:
        if isinstance(outcome, Result):
            return ActionResponse(invoke, outcome).octets()
        octets = ActionResponse(invoke, DONE, outcome).octets()
        return octets if self._fits(octets) else self._first_pblock(invoke, axdr.encode(outcome))

    def _first_pblock(self, invoke: int, octets: bytes) -> bytes:
        self._pending, self._block = octets, 0
        return self._next_pblock(invoke)

    def _next_pblock(self, invoke: int) -> bytes:
        piece = self._next_piece()
        return ActionBlockResponse(invoke, not self._pending, self._block, piece).octets()

    def _act_next(self, request: ActionNextRequest) -> bytes:
        if not self._pending or request.block != self._block:
            self._pending = b""
            return ActionResponse(request.invoke, _WRONG_NUMBER).octets()
        return self._next_pblock(request.invoke)

    def _act_list(self, request: ActionListRequest) -> bytes:
        return self._acted_all(request.invoke, request.methods, request.parameters)

    def _acted_all(self, invoke: int, methods: tuple[Attribute, ...], parameters: tuple[Data, ...]) -> bytes:
        outcomes = [self._run(m, p) for m, p in zip(methods, parameters, strict=False)]
        pairs = tuple((o, None) if isinstance(o, Result) else (DONE, o) for o in outcomes)
        octets = ActionListResponse(invoke, pairs).octets()
        return octets if self._fits(octets) else self._first_pblock(invoke, octets[3:])

    def _act_first(self, request: ActionFirstBlockRequest) -> bytes:
        def finish(octets: bytes, number: int) -> bytes:
            return self._acted(request.invoke, self._run(request.method, axdr.decode(octets)))

        return self._gather(request.invoke, finish, ActionNextResponse, request.piece)

    def _act_list_first(self, request: ActionListFirstBlockRequest) -> bytes:
        def finish(octets: bytes, number: int) -> bytes:
            return self._acted_all(request.invoke, request.methods, read_values(Reader(octets)))

        return self._gather(request.invoke, finish, ActionNextResponse, request.piece)

    def _act_block(self, request: ActionBlockRequest) -> bytes:
        return self._go_on(request.invoke, request.piece)

    # Long requests

    def _gather(self, invoke: int, finish: Finish, taken: type[SetBlockResponse] | type[ActionNextResponse], first: Piece) -> bytes:
        self._gathering = Gathering(finish, taken)
        return self._go_on(invoke, first)

    def _go_on(self, invoke: int, piece: Piece) -> bytes:
        gathering = self._gathering
        if gathering is None or piece.number != gathering.number + 1 or len(gathering.octets) > MAX_VALUE:
            self._gathering = None
            return self._broken_off(invoke, piece, gathering)
        gathering.number, gathering.octets = piece.number, gathering.octets + piece.octets
        if not piece.last:
            return gathering.taken(invoke, piece.number).octets()
        self._gathering = None
        return gathering.finish(gathering.octets, piece.number)

    def _broken_off(self, invoke: int, piece: Piece, gathering: Gathering | None) -> bytes:
        if gathering and gathering.taken is ActionNextResponse:
            return ActionResponse(invoke, Result(AccessResult.LONG_SET_ABORTED)).octets()
        aborted = AccessResult.LONG_SET_ABORTED if gathering else AccessResult.NO_LONG_SET_IN_PROGRESS
        return SetLastBlockResponse(invoke, Result(aborted), piece.number).octets()

    # The device, within the account's rights

    def _read(self, target: Attribute, selector: Selector | None) -> Data | Result:
        if self._account is None:
            return DENIED
        if target.class_id == ASSOCIATION:
            return read_association(self.device, self._account, target)
        return self.device.get(self._account, target, selector)

    def _write(self, target: Attribute, value: Data) -> Result:
        if self._account is None:
            return DENIED
        if target.class_id == ASSOCIATION:
            return write_association(self.device, self._account, target, value)
        return self.device.set(self._account, target, value)

    def _write_all(self, targets: tuple[Attribute, ...], values: tuple[Data, ...]) -> tuple[Result, ...]:
        written = [self._write(target, value) for target, value in zip(targets, values, strict=False)]
        missing = [Result(AccessResult.OTHER_REASON)] * (len(targets) - len(written))
        return tuple(written + missing)

    def _run(self, method: Attribute, parameters: Data | None) -> Data | Result:
        if self._account is None:
            return DENIED
        if method.class_id == ASSOCIATION:
            return act_on_association(self.device, self._account, method, parameters)
        return self.device.act(self._account, method, parameters)


_SERVICES: Final[dict[type, Callable[[Services, Any], bytes]]] = {
    GetRequest: Services._get,
    GetNextRequest: Services._get_next,
    GetListRequest: Services._get_list,
    SetRequest: Services._set,
    SetListRequest: Services._set_list,
    SetFirstBlockRequest: Services._set_first,
    SetListFirstBlockRequest: Services._set_list_first,
    SetBlockRequest: Services._set_block,
    ActionRequest: Services._act,
    ActionNextRequest: Services._act_next,
    ActionListRequest: Services._act_list,
    ActionFirstBlockRequest: Services._act_first,
    ActionListFirstBlockRequest: Services._act_list_first,
    ActionBlockRequest: Services._act_block,
}
