"""A DLMS client as conversations: associate, get (with blocks and lists), set, act, release (IEC 62056-5-3).

* The association is dropped before an error goes on to the caller: the meter is never left half open. A refusal by
  the meter (`AccessDenied`) is an answer and leaves the association as it is. A caller that goes on after an error
  (another object may be sound) gets a new association with its next request, until it calls `close`.
* Every loop has an end: blocks are counted and a long value is at most `MAX_VALUE` octets.
* Tolerated: octets behind an answer's value, a meter that does not answer RLRQ, an empty UA.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.access import AccessResult, Attribute, Result, Selector
from gridtally_edge.protocols.dlms.acse import ACCEPTED, DIAGNOSTICS, Aare, Aarq, Mechanism
from gridtally_edge.protocols.dlms.apdu import Apdu, decode_apdu
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.initiate import ConfirmedServiceError, Conformance, InitiateRequest, InitiateResponse
from gridtally_edge.protocols.dlms.link import Link
from gridtally_edge.protocols.dlms.notification import ExceptionResponse
from gridtally_edge.protocols.dlms.octets import Reader
from gridtally_edge.protocols.dlms.services import (
    ActionRequest,
    ActionResponse,
    GetBlockResponse,
    GetListRequest,
    GetListResponse,
    GetNextRequest,
    GetRequest,
    GetResponse,
    SetRequest,
    SetResponse,
)
from gridtally_shared.errors import GridtallyError, LinkDown, MeterFault

T = TypeVar("T")
A = TypeVar("A")

MAX_VALUE: Final = 1 << 20
MAX_BLOCKS: Final = 20_000
PROPOSED: Final = (
    Conformance.PRIORITY
    | Conformance.BLOCK_GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
)
_NO_RANGE: Final = frozenset(
    {AccessResult.SCOPE_OF_ACCESS_VIOLATED, AccessResult.OTHER_REASON, AccessResult.TYPE_UNMATCHED}
)


class AccessDenied(MeterFault):
    """The meter answered with a result code instead of a value. The association stays open."""

    def __init__(self, target: Attribute, result: Result) -> None:
        super().__init__(f"{target}: {result}")
        self.target, self.result = target, result

    @property
    def undefined(self) -> bool:
        """The meter has no such object."""
        return self.result.code in (AccessResult.OBJECT_UNDEFINED, AccessResult.OBJECT_UNAVAILABLE)

    @property
    def no_range_access(self) -> bool:
        """What meters answer that know only entry access to a profile."""
        return self.result.code in _NO_RANGE


@dataclass(frozen=True, slots=True)
class Login:
    """How to associate: mechanism NONE (public client) or LLS with a password. The password is never shown."""

    mechanism: Mechanism = Mechanism.NONE
    password: bytes = field(default=b"", repr=False)


@dataclass(slots=True)
class DlmsClient:
    """One client on one link. `agreed` is what the meter granted, None while no association is open."""

    link: Link
    login: Login = Login()
    max_pdu: int = 0xFFFF
    agreed: InitiateResponse | None = field(default=None, init=False)
    _session: bool = field(default=False, init=False)
    _linked: bool = field(default=False, init=False)
    _invoke: int = field(default=0, init=False)

    def open(self) -> Conversation[None]:
        """Link and association. Raises LinkDown, or MeterFault where the meter refuses us."""
        self._session = False
        yield from self._guarded(self._connect())
        self._session = True

    def close(self) -> Conversation[None]:
        """Drop the link, which ends the association; safe to call at any time."""
        self._session = False
        yield from self._drop()

    def get(self, attribute: Attribute, selector: Selector | None = None) -> Conversation[Data]:
        """The attribute's value, however many blocks it takes. Raises AccessDenied, MeterFault or LinkDown."""
        return (yield from self._guarded(self._get(attribute, selector)))

    def get_list(self, attributes: tuple[Attribute, ...]) -> Conversation[tuple[Data | Result, ...]]:
        """Several attributes in one request; each comes as a value or the result that stands in its place."""
        return (yield from self._guarded(self._get_list(attributes)))

    def set(self, attribute: Attribute, value: Data) -> Conversation[None]:
        """Write an attribute. Raises AccessDenied, MeterFault or LinkDown."""
        yield from self._guarded(self._set(attribute, value))

    def act(self, method: Attribute, parameters: Data) -> Conversation[Data | None]:
        """Run a method and return what it gave back. Raises AccessDenied, MeterFault or LinkDown."""
        return (yield from self._guarded(self._act(method, parameters)))

    def _connect(self) -> Conversation[None]:
        yield from self.link.connect()
        self._linked = True
        yield from self._associate()

    def _drop(self) -> Conversation[None]:
        if not self._linked:
            return
        self._linked, self.agreed = False, None
        try:
            yield from self.link.disconnect()
        except LinkDown:
            return

    def _associate(self) -> Conversation[None]:
        initiate = InitiateRequest(PROPOSED, self.max_pdu).octets()
        lls = self.login.mechanism is not Mechanism.NONE
        request = Aarq(
            requirements=b"\x07\x80" if lls else None,
            mechanism=self.login.mechanism if lls else None,
            secret=self.login.password if lls else None,
            initiate=initiate,
        )
        answer = _expect(decode_apdu((yield from self.link.request(request.octets()))), Aare)
        self.agreed = _granted(answer)

    def _get(self, attribute: Attribute, selector: Selector | None) -> Conversation[Data]:
        request = GetRequest(self._next_invoke(), attribute, selector)
        answer = yield from self._call(request.octets(), request.invoke)
        if isinstance(answer, GetBlockResponse):
            return (yield from self._get_blocks(attribute, answer))
        return _value(attribute, _expect(answer, GetResponse).outcome)

    def _get_blocks(self, attribute: Attribute, answer: GetBlockResponse) -> Conversation[Data]:
        value, number = b"", 1
        while True:
            block = answer.block
            if isinstance(block.content, Result):
                raise AccessDenied(attribute, block.content)
            if block.number != number or number > MAX_BLOCKS or len(value) > MAX_VALUE:
                raise MeterFault(f"{attribute}: block {block.number} came, {number} was due")
            value += block.piece()
            if block.last:
                return axdr.read_data(Reader(value))
            request = GetNextRequest(answer.invoke, number)
            answer = _expect((yield from self._call(request.octets(), request.invoke)), GetBlockResponse)
            number += 1

    def _get_list(self, attributes: tuple[Attribute, ...]) -> Conversation[tuple[Data | Result, ...]]:
        request = GetListRequest(self._next_invoke(), tuple((a, None) for a in attributes))
        answer = yield from self._call(request.octets(), request.invoke)
        outcomes = _expect(answer, GetListResponse).outcomes
        if len(outcomes) != len(attributes):
            raise MeterFault(f"{len(outcomes)} values for {len(attributes)} attributes")
        return outcomes

    def _set(self, attribute: Attribute, value: Data) -> Conversation[None]:
        request = SetRequest(self._next_invoke(), attribute, None, value)
        answer = yield from self._call(request.octets(), request.invoke)
        result = _expect(answer, SetResponse).result
        if not result.ok:
            raise AccessDenied(attribute, result)

    def _act(self, method: Attribute, parameters: Data) -> Conversation[Data | None]:
        request = ActionRequest(self._next_invoke(), method, parameters)
        answer = _expect((yield from self._call(request.octets(), request.invoke)), ActionResponse)
        if not answer.result.ok:
            raise AccessDenied(method, answer.result)
        return answer.outcome if isinstance(answer.outcome, Data) else None

    def _call(self, request: bytes, invoke: int) -> Conversation[Apdu]:
        answer = decode_apdu((yield from self.link.request(request)))
        came = getattr(answer, "invoke", invoke)
        if came & 0x0F != invoke & 0x0F:
            raise MeterFault(f"the meter answers request {came & 0x0F}, {invoke & 0x0F} was asked")
        return answer

    def _next_invoke(self) -> int:
        self._invoke = (self._invoke + 1) % 16
        return 0xC0 | self._invoke

    def _guarded(self, work: Conversation[A]) -> Conversation[A]:
        """Run `work`; on any error but a refusal release the association first, then let the error go on."""
        try:
            if self._session and not self._linked:
                yield from self._connect()
            return (yield from work)
        except AccessDenied:
            raise
        except GridtallyError:
            yield from self._drop()
            raise


def _value(attribute: Attribute, outcome: Data | Result) -> Data:
    if isinstance(outcome, Result):
        raise AccessDenied(attribute, outcome)
    return outcome


def _expect(answer: Apdu, kind: type[T]) -> T:
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, ExceptionResponse):
        raise MeterFault(f"the meter refuses the service: {answer}")
    raise MeterFault(f"expected {kind.__name__}, the meter sent {type(answer).__name__}")


def _granted(answer: Aare) -> InitiateResponse:
    initiate = decode_apdu(answer.initiate) if answer.initiate else None
    if answer.result != ACCEPTED:
        reason = DIAGNOSTICS.get(answer.diagnostic, f"diagnostic {answer.diagnostic}")
        detail = f", initiate error {initiate.value}" if isinstance(initiate, ConfirmedServiceError) else ""
        raise MeterFault(f"the meter refuses the association: {reason}{detail}; check client address and password")
    return _expect(initiate, InitiateResponse) if initiate else InitiateResponse(PROPOSED, 0xFFFF)
