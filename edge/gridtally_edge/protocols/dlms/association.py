"""One association: AARQ to release, and every request within it (IEC 62056-5-3, 9.2 and 9.3).

* Plain or ciphered context; no password, LLS, or HLS with passes 3 and 4 through ACTION on the current association.
  A meter that fails its own proof is a MeterFault and nothing more is said to it.
* Requests are sealed, answers opened, long ones cut and joined by general block transfer where it was granted.
* Answers that belong to another request (a late repeat, the second AARE of an AARQ that was asked again) are passed over;
  notifications go to `unsolicited`.
* An invocation-counter refusal is repaired once in an association, within the bound of the settings, and reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Final, TypeVar

from gridtally_edge.protocols.conversation import Conversation, asked_again
from gridtally_edge.protocols.dlms import axdr, gbt, hls
from gridtally_edge.protocols.dlms.access import attribute
from gridtally_edge.protocols.dlms.acse import ACCEPTED, DIAGNOSTICS, REJECTED_FOR_NOW, Aare, Aarq, Context, Mechanism, Rlre, Rlrq
from gridtally_edge.protocols.dlms.apdu import Apdu, decode_apdu
from gridtally_edge.protocols.dlms.axdr import Data
from gridtally_edge.protocols.dlms.hls import Party, Secrets
from gridtally_edge.protocols.dlms.initiate import ConfirmedServiceError, Conformance, InitiateRequest, InitiateResponse
from gridtally_edge.protocols.dlms.login import Login
from gridtally_edge.protocols.dlms.notification import DataNotification, EventNotification, ExceptionResponse
from gridtally_edge.protocols.dlms.security import Guard, Security, repair_counter
from gridtally_edge.protocols.dlms.services import ActionRequest, ActionResponse
from gridtally_edge.protocols.dlms.timing import Link, LinkDropped, Unsolicited
from gridtally_shared.errors import LinkDown, MeterBusy, MeterFault, SecurityFault
from gridtally_shared.records import dataclass

T = TypeVar("T")

MAX_STRAYS: Final = 8
CHALLENGE_METHOD: Final = attribute(15, "0.0.40.0.0.255", 1)
_NEEDS_LOGIN: Final = b"\x07\x80"
_LARGEST: Final = 0xFFFF
_SMALLEST: Final = 64
_SHORTEST_CHALLENGE: Final = 8
_OF_PROTECTION: Final = frozenset({5, 6})
"""Service errors: it could not decipher, or wants another invocation counter."""


@dataclass(slots=True)
class Association:
    """`agreed` is what the meter granted, None while nothing is; `guard` protects the PDUs where anything does."""

    link: Link
    login: Login
    security: Security | None
    proposed: Conformance
    max_pdu: int
    unsolicited: Unsolicited | None = None
    agreed: InitiateResponse | None = field(default=None, init=False)
    guard: Guard | None = field(default=None, init=False)
    _invoke: int = field(default=0, init=False)
    _repairs: int = field(default=0, init=False)

    def open(self) -> Conversation[None]:
        """AARQ, and the proof of both sides where HLS is used. Raises LinkDown, or MeterFault where it is refused."""
        self.guard = Guard.begin(self.security, self.login.entropy) if self.security else None
        self._repairs = 0
        if self.login.preestablished:
            self.agreed = InitiateResponse(self.proposed, _LARGEST)
            return
        challenge = self.login.entropy(hls.CHALLENGE_OCTETS) if self.login.is_hls else b""
        answer = yield from self._aare(challenge)
        if self.guard:
            self.guard.meter_title = answer.title or self.guard.meter_title
        self.agreed = self._granted(answer)
        if self.login.is_hls:
            yield from self._prove(challenge, answer)

    def release(self) -> Conversation[None]:
        """RLRQ. No answer, or one without user information, is fine."""
        sealed = self.guard.seal_initiate(self._initiate()) if self._ciphered and self.guard else None
        self.agreed = None
        try:
            yield from self.link.request(Rlrq(0, sealed).octets())
        except LinkDown:
            return

    def grants(self, service: Conformance) -> bool:
        return bool(self.agreed and self.agreed.conformance & service)

    @property
    def room(self) -> int:
        """The longest plain PDU the meter takes."""
        return max(_SMALLEST, self._limit - (self.guard.overhead if self.guard else 0))

    def next_invoke(self) -> int:
        self._invoke = (self._invoke + 1) % 16
        return 0xC0 | self._invoke

    def call(self, request: bytes, invoke: int, repeatable: bool = True) -> Conversation[Apdu]:
        """One service request and its answer. `repeatable`: asking twice does no harm (GET)."""
        return (yield from self._until_answered(lambda: self._ask_twice(request, invoke), repeatable))

    def _ask_twice(self, request: bytes, invoke: int) -> Conversation[Apdu]:
        """Ask, and ask again only where our counter had to be repaired."""
        answer = yield from self._ask(request, invoke)
        return (yield from self._ask(request, invoke)) if self._repaired(answer) else answer

    def _ask(self, request: bytes, invoke: int) -> Conversation[Apdu]:
        octets = self.guard.seal(request) if self.guard else request
        if len(octets) > self._limit and self.grants(Conformance.GENERAL_BLOCK_TRANSFER):
            received = yield from gbt.send(self.link, octets, self._limit)
        else:
            received = yield from self.link.request(octets)
        for _ in range(MAX_STRAYS):
            answer = yield from self._opened(received)
            if isinstance(answer, DataNotification | EventNotification):
                self._hand_over(answer.octets())
            elif not isinstance(answer, Aare | Rlre) and getattr(answer, "invoke", invoke) & 0x0F == invoke & 0x0F:
                return answer
            received = yield from self.link.receive()
        raise MeterFault("the meter answers other requests than ours")

    def _opened(self, received: bytes) -> Conversation[Apdu]:
        if gbt.is_block(received):
            received = yield from gbt.receive(self.link, received)
        return decode_apdu(self.guard.open(received) if self.guard else received)

    def _hand_over(self, apdu: bytes) -> None:
        if self.unsolicited:
            self.unsolicited(apdu)

    def _repaired(self, answer: Apdu) -> bool:
        """Whether the meter refused our counter and it now stands higher; once in an association."""
        if self.security is None or not isinstance(answer, ExceptionResponse) or answer.counter is None or self._repairs:
            return False
        self._repairs += 1
        repair_counter(self.security, answer.counter)
        return True

    @property
    def _limit(self) -> int:
        """The longest PDU the meter takes; 0 in its answer means any."""
        return (self.agreed.max_pdu if self.agreed else 0) or _LARGEST

    @property
    def _ciphered(self) -> bool:
        return bool(self.security and self.security.policy)

    def _initiate(self) -> bytes:
        own = self.guard.dedicated if self.guard else None
        return InitiateRequest(self.proposed, self.max_pdu, own.encryption if own else None).octets()

    def _aare(self, challenge: bytes) -> Conversation[Aare]:
        answer = decode_apdu((yield from self._asked_to_associate(challenge)))
        if self._repaired(answer):
            answer = decode_apdu((yield from self._asked_to_associate(challenge)))
        return expect(answer, Aare)

    def _asked_to_associate(self, challenge: bytes) -> Conversation[bytes]:
        return (yield from self._until_answered(lambda: self.link.request(self._aarq(challenge).octets())))

    def _until_answered(self, ask: Callable[[], Conversation[T]], repeatable: bool = True) -> Conversation[T]:
        """Over datagrams it may be lost and is asked again, sealed anew; other links repair by themselves."""
        retries = self.link.timing.retries if repeatable and not self.link.repairs else 0
        asking = ask()
        for _ in range(retries):
            try:
                return (yield from asking)
            except LinkDropped:
                raise
            except LinkDown:
                asking = asked_again(ask())
        return (yield from asking)

    def _aarq(self, challenge: bytes) -> Aarq:
        named = self.login.mechanism is not Mechanism.NONE
        initiate = self._initiate()
        return Aarq(
            context=Context.LOGICAL_NAME_CIPHERED if self._ciphered else Context.LOGICAL_NAME,
            title=self.security.title if self.security else None,
            requirements=_NEEDS_LOGIN if named else None,
            mechanism=self.login.mechanism if named else None,
            secret=(challenge if self.login.is_hls else self.login.secret) if named else None,
            initiate=self.guard.seal_initiate(initiate) if self._ciphered and self.guard else initiate,
        )

    def _granted(self, answer: Aare) -> InitiateResponse:
        if answer.result == REJECTED_FOR_NOW:
            raise MeterBusy("the meter is busy with another session; it is asked again later")
        if answer.result != ACCEPTED:
            check = "client address and password" + (", title and keys" if self.security else "")
            raise SecurityFault(f"the meter refuses the association: {self._reason(answer)}; check {check}")
        if not answer.initiate:
            return InitiateResponse(self.proposed, _LARGEST)
        opened = self.guard.open(answer.initiate) if self._ciphered and self.guard else answer.initiate
        return expect(decode_apdu(opened), InitiateResponse)

    def _reason(self, answer: Aare) -> str:
        reason = DIAGNOSTICS.get(answer.diagnostic, f"diagnostic {answer.diagnostic}")
        detail = decode_apdu(answer.initiate) if answer.initiate else None
        return reason + (f", initiate error {detail.value}" if isinstance(detail, ConfirmedServiceError) else "")

    def _prove(self, challenge: bytes, answer: Aare) -> Conversation[None]:
        """Passes 3 and 4: our answer to the meter's challenge, and the meter's to ours."""
        ours = Party(self.security.title if self.security else b"", challenge)
        theirs = Party(answer.title or b"", answer.challenge or b"")
        if len(theirs.challenge) < _SHORTEST_CHALLENGE or theirs.challenge == challenge:
            raise MeterFault("the meter sends no challenge of its own")
        counter = 0
        if self.security and self.login.mechanism is Mechanism.HLS_GMAC:
            counter = self.security.counters.take(self.security.channel)
        mechanism, secrets = self.login.mechanism, self._secrets()
        proof = axdr.octet_string(hls.answer(mechanism, secrets, ours, theirs, counter))
        back = yield from self._act(proof)
        if not hls.is_right(mechanism, secrets, ours, theirs, back):
            raise SecurityFault("the meter could not prove that it knows the secret: wrong key or password, or not this meter")

    def _secrets(self) -> Secrets:
        if self.security is None:
            return Secrets(self.login.secret)
        return Secrets(self.login.secret, self.security.keys, self.security.suite)

    def _act(self, proof: Data) -> Conversation[bytes]:
        invoke = self.next_invoke()
        request = ActionRequest(invoke, CHALLENGE_METHOD, proof)
        answer = expect((yield from self.call(request.octets(), invoke, repeatable=False)), ActionResponse)
        if not answer.result.ok or not isinstance(answer.outcome, Data):
            raise SecurityFault(f"the meter refuses our proof ({answer.result}): check password and keys")
        return axdr.octets_of(answer.outcome)


def expect(answer: Apdu, kind: type[T]) -> T:
    """The answer, if it is of this kind. Raises MeterFault with the meter's own reason where it gave one."""
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, ExceptionResponse):
        fault = SecurityFault if answer.service_error in _OF_PROTECTION else MeterFault
        raise fault(f"the meter refuses the service: {answer}")
    if isinstance(answer, ConfirmedServiceError):
        raise MeterFault(f"the meter refuses service {answer.service}: error class {answer.kind}, code {answer.value}")
    raise MeterFault(f"expected {kind.__name__}, the meter sent {type(answer).__name__}")
