"""One link's view of a simulated meter: associations and how PDUs are wrapped; what they ask is in dlms_services.py.

* A client the meter does not know is refused. Low-level security is a password; high-level security takes two more
  steps (the association object's method 1), and until then nothing else is served.
* Answers longer than agreed go out by general block transfer where both sides agreed on it.
* Nonsense gets an exception response, as does what is ciphered wrongly or repeats a counter.

Source: IEC 62056-5-3, 9.3; IS 15959 clause 4.
"""

from __future__ import annotations

import secrets
from dataclasses import field
from enum import Enum
from typing import Final

from gridtally_edge.protocols.dlms import axdr
from gridtally_edge.protocols.dlms.acse import Aare, Aarq, Context, Mechanism, Rlre, Rlrq
from gridtally_edge.protocols.dlms.apdu import Apdu, decode_apdu
from gridtally_edge.protocols.dlms.axdr import Data, octet_string
from gridtally_edge.protocols.dlms.ciphering import CipheredService
from gridtally_edge.protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from gridtally_edge.protocols.dlms.notification import DataNotificationConfirm, ExceptionResponse, GeneralBlock
from gridtally_edge.protocols.dlms.services import (
    ActionRequest,
    ActionResponse,
)
from gridtally_edge.simulators.dlms_access import Account
from gridtally_edge.simulators.dlms_ciphers import GLOBAL_INITIATE, Form, Letter, Peer
from gridtally_edge.simulators.dlms_device import DENIED, DONE, CosemDevice
from gridtally_edge.simulators.dlms_doors import Door
from gridtally_edge.simulators.dlms_gbt import BlockCarrier
from gridtally_edge.simulators.dlms_hls import DIGESTS, HIGH, Proof
from gridtally_edge.simulators.dlms_quirks import Quirk
from gridtally_edge.simulators.dlms_services import Services
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

_SUPPORTED: Final = (
    Conformance.PRIORITY
    | Conformance.BLOCK_GET
    | Conformance.BLOCK_SET
    | Conformance.BLOCK_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
)
_REFUSED, _BUSY = 1, 2
_NO_REASON, _WRONG_CONTEXT, _WRONG_MECHANISM, _FAILED, _REQUIRED = 1, 2, 11, 13, 14
_NOT_ALLOWED: Final = ExceptionResponse(1, 1).octets()
_NOT_UNDERSTOOD: Final = ExceptionResponse(2, 2).octets()
_REPLY_TO_HLS: Final = 1
_CHALLENGE_OCTETS: Final = 16
_SEAL: Final = 32
_CONTEXTS: Final = (Context.LOGICAL_NAME, Context.LOGICAL_NAME_CIPHERED)


class Stage(Enum):
    """Where an association stands."""

    NONE = "none"
    PROVING = "proving"
    OPEN = "open"


@dataclass(slots=True)
class CosemServer:
    """The application of one link."""

    device: CosemDevice
    door: Door = Door.NETWORK
    _client: int = field(default=0, init=False)
    _account: Account | None = field(default=None, init=False)
    _stage: Stage = field(default=Stage.NONE, init=False)
    _peer: Peer = field(default_factory=lambda: Peer(0), init=False)
    _proof: Proof | None = field(default=None, init=False)
    _services: Services = field(init=False)
    _limit: int = field(default=512, init=False)
    _general: BlockCarrier | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._services = Services(self.device)

    def start(self, client: int) -> None:
        """A new link of this client."""
        self._client, self._account, self._stage = client, self.device.account(client), Stage.NONE
        self._peer, self._general = Peer(self._account.number if self._account else 0), None
        self._services.start(self._account)
        if self._account and self._account.pre_established:
            self._stage = Stage.OPEN

    @property
    def associated(self) -> bool:
        return self._stage is not Stage.NONE

    def abort(self) -> None:
        """The link is gone, or another port took the meter."""
        self._stage = Stage.NONE

    def handle(self, apdu: bytes) -> tuple[bytes, ...]:
        """The PDUs that answer; none where the meter stays silent."""
        try:
            request = decode_apdu(apdu)
        except MeterFault:
            return (_NOT_UNDERSTOOD,)
        if isinstance(request, GeneralBlock) and self._general is not None:
            return self._carried(self._general, request)
        if isinstance(request, DataNotificationConfirm):
            self.device.confirmed.append(request.invoke)
            return ()
        answer = self._whole(request, apdu)
        if self._general is not None and len(answer) > self._limit:
            self._general.start()
            return self._general.send(answer)
        return (answer,) if answer else ()

    def _carried(self, carrier: BlockCarrier, block: GeneralBlock) -> tuple[bytes, ...]:
        whole = carrier.take(block)
        if whole is None:
            return carrier.due()
        try:
            return carrier.send(self._whole(decode_apdu(whole), whole))
        except MeterFault:
            return (_NOT_UNDERSTOOD,)

    def _whole(self, request: Apdu, apdu: bytes) -> bytes:
        """The answer to one whole PDU, wrapped as it came; empty for silence."""
        if isinstance(request, Aarq):
            return self._associate(request)
        if self._stage is Stage.NONE:
            return _NOT_ALLOWED
        letter = self.device.ciphers.open(request, self._peer, apdu) if self.device.ciphers else Letter(apdu)
        if isinstance(letter, bytes):
            return letter
        if self._account is None or (self._account.security & ~letter.security and not isinstance(request, Rlrq)):
            return _NOT_ALLOWED
        self._services.overhead = 0 if letter.form is Form.PLAIN else _SEAL
        try:
            return self._sealed(self._serve(decode_apdu(letter.plaintext)), letter)
        except MeterFault:
            return _NOT_UNDERSTOOD

    def _serve(self, request: Apdu) -> bytes:
        if self._stage is Stage.PROVING:
            return self._prove(request) if isinstance(request, ActionRequest) else _NOT_ALLOWED
        if isinstance(request, Rlrq):
            return self._release(request)
        return self._services.serve(request) or _NOT_UNDERSTOOD

    def _sealed(self, answer: bytes, letter: Letter) -> bytes:
        if not answer or self.device.ciphers is None or answer[0] in (ExceptionResponse.tags[0], Rlre.tags[0]):
            return answer
        return self.device.ciphers.close(answer, letter.form, letter.security, self._peer)

    # Associations

    def _associate(self, request: Aarq) -> bytes:
        self._stage, self._general = Stage.NONE, None
        self._account = self.device.account(self._client)
        self._services.start(self._account)
        diagnostic = self._objection(request)
        if diagnostic:
            return self._refusal(request, diagnostic)
        if self.device.doors is not None and not self.device.doors.admits(self):
            return self._refusal(request, _NO_REASON, _BUSY)
        self._peer.title, self._peer.dedicated = request.title or b"", None
        letter = self._initiate_letter(request)
        if isinstance(letter, bytes):
            return letter
        if self._account is None or self._account.security & ~letter.security:
            return self._refusal(request, _WRONG_CONTEXT)
        return self._accept(request, letter)

    def _objection(self, request: Aarq) -> int:
        """The diagnostic that refuses the association, 0 for none."""
        account = self._account
        if account is None or account.pre_established:
            return _NO_REASON
        if request.context not in _CONTEXTS or (request.context == Context.LOGICAL_NAME_CIPHERED and self.device.ciphers is None):
            return _WRONG_CONTEXT
        if (request.mechanism or Mechanism.NONE) != account.mechanism:
            return _REQUIRED if request.mechanism is None else _FAILED
        if account.mechanism is Mechanism.LLS and not secrets.compare_digest(request.secret or b"", account.secret):
            return _FAILED
        if account.mechanism in HIGH and not 8 <= len(request.secret or b"") <= 64:
            return _FAILED
        return 0

    def _refusal(self, request: Aarq, diagnostic: int, result: int = _REFUSED) -> bytes:
        context = request.context if request.context in _CONTEXTS else Context.LOGICAL_NAME
        return Aare(context, result, diagnostic).octets()

    def _initiate_letter(self, request: Aarq) -> Letter | bytes:
        """The initiate request in plain, or the exception response that refuses it."""
        octets = request.initiate or b""
        if octets[:1] != bytes([GLOBAL_INITIATE]) or self.device.ciphers is None:
            return Letter(octets)
        try:
            sealed = decode_apdu(octets)
        except MeterFault:
            return _NOT_UNDERSTOOD
        return self.device.ciphers.open(sealed, self._peer, octets) if isinstance(sealed, CipheredService) else _NOT_UNDERSTOOD

    def _accept(self, request: Aarq, letter: Letter) -> bytes:
        wanted = _initiate(letter.plaintext)
        granted = self._agree(wanted)
        ciphers, high = self.device.ciphers, request.mechanism in HIGH
        initiate = granted.octets()
        if letter.form is not Form.PLAIN and ciphers:
            initiate = ciphers.initiate(initiate, letter.security)
        challenge = secrets.token_bytes(_CHALLENGE_OCTETS) if high else None
        self._stage = Stage.PROVING if high else Stage.OPEN
        title = ciphers.keys.title if ciphers and (high or letter.form is not Form.PLAIN) else None
        if high and challenge is not None:
            self._proof = self._expected_proof(request, challenge, title or b"")
        return Aare(
            request.context, 0, _REQUIRED if high else 0, title=title, requirements=b"\x07\x80" if high else None,
            mechanism=request.mechanism if high else None, challenge=challenge, initiate=initiate,
        ).octets()  # fmt: skip

    def _agree(self, wanted: InitiateRequest) -> InitiateResponse:
        general = Conformance.GENERAL_BLOCK_TRANSFER if self.device.block_transfer else Conformance(0)
        protection = Conformance.GENERAL_PROTECTION if self.device.ciphers else Conformance(0)
        granted = wanted.conformance & (_SUPPORTED | general | protection)
        self._limit = min(self.device.max_pdu, wanted.max_pdu or self.device.max_pdu)
        self._peer.dedicated, self._peer.dedicated_counter = wanted.dedicated_key, -1
        self._services.limit, self._services.whole = self._limit, Conformance.GENERAL_BLOCK_TRANSFER in granted
        if Conformance.GENERAL_BLOCK_TRANSFER in granted:
            self._general = BlockCarrier(self._limit, self.device.quirks)
        return InitiateResponse(granted, self.device.max_pdu)

    def _expected_proof(self, request: Aarq, challenge: bytes, title: bytes) -> Proof:
        """Seen from the client, who proves first."""
        secret = self._account.secret if self._account else b""
        return Proof(secret, self._peer.title, title, request.secret or b"", challenge)

    def _prove(self, request: ActionRequest) -> bytes:
        """Steps 3 and 4: the client's proof, and ours in return."""
        proof, self._proof = self._proof, None
        named = (request.method.class_id, request.method.index) == (15, _REPLY_TO_HLS)
        if proof is None or not named or not self._is_proven(proof, request.parameters):
            self._stage = Stage.NONE
            return ActionResponse(request.invoke, DENIED).octets()
        self._stage = Stage.OPEN
        return ActionResponse(request.invoke, DONE, octet_string(self._own_proof(proof))).octets()

    def _is_proven(self, proof: Proof, parameters: Data | None) -> bool:
        if parameters is None:
            return False
        answer = axdr.octets_of(parameters)
        reckon = DIGESTS.get(self._mechanism())
        if reckon:
            return secrets.compare_digest(answer, reckon(proof))
        return self.device.ciphers is not None and self.device.ciphers.proves(answer, proof.other_challenge, self._peer)

    def _own_proof(self, proof: Proof) -> bytes:
        reckon = DIGESTS.get(self._mechanism())
        if reckon is None and self.device.ciphers:
            return self.device.ciphers.tag_of(proof.own_challenge)
        turned = Proof(proof.secret, proof.other_title, proof.own_title, proof.other_challenge, proof.own_challenge)
        return reckon(turned) if reckon else b""

    def _mechanism(self) -> int:
        return self._account.mechanism if self._account else Mechanism.NONE

    def _release(self, request: Rlrq) -> bytes:
        self._stage = Stage.NONE
        return b"" if self.device.quirks.acts(Quirk.NO_RLRE) else Rlre(0).octets()


def _initiate(octets: bytes) -> InitiateRequest:
    try:
        wanted = decode_apdu(octets)
    except MeterFault:
        return InitiateRequest(_SUPPORTED)
    return wanted if isinstance(wanted, InitiateRequest) else InitiateRequest(_SUPPORTED)
