"""How a simulated meter protects and opens PDUs: global, dedicated and general ciphering, with counters checked.

* A request's counter must be above the last one of its association; else the answer is an exception response that
  tells the counter expected. A tag that is wrong, or missing protection, is a deciphering error.
* An answer goes out the way the request came, under the meter's own counter.
* General-ciphering is opened with the unicast key or with one that comes wrapped, and answered under the unicast key.
* Keys change while the meter runs (key transfer of class 64).
"""

from __future__ import annotations

from dataclasses import field, replace
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from gridtally_edge.protocols.dlms.apdu import Apdu
from gridtally_edge.protocols.dlms.ciphering import (
    AUTHENTICATED,
    ENCRYPTED,
    CipheredService,
    CipherKeys,
    GeneralCiphered,
    GeneralDed,
    GeneralGlo,
    Sealed,
    seal,
    unseal,
)
from gridtally_edge.protocols.dlms.notification import ExceptionResponse
from gridtally_edge.simulators.dlms_access import MeterKeys
from gridtally_edge.simulators.dlms_quirks import Quirk, QuirkBoard
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

DECIPHERING_ERROR: Final = ExceptionResponse(2, 5).octets()
BOTH: Final = AUTHENTICATED | ENCRYPTED
_SUITE: Final = 0x0F
_COUNTER_STEP: Final = 1_000
_DEDICATED: Final = range(0xD0, 0xD8)
_UNICAST, _WRAPPED_BY_MASTER = b"\x00\x00", b"\x01\x00"
_MESSAGES_PER_S: Final = 8
_EPOCH_MS: Final = 1_577_836_800_000
GLOBAL_INITIATE: Final = 0x21
GLOBAL_INITIATE_RESPONSE: Final = 0x28


class Form(Enum):
    """How a PDU is wrapped."""

    PLAIN = "plain"
    GLOBAL = "global"
    DEDICATED = "dedicated"
    GENERAL_GLOBAL = "general global"
    GENERAL_DEDICATED = "general dedicated"
    GENERAL = "general-ciphering"


def first_counter(at_ms: int) -> int:
    """A counter above all that a meter used before, if it sent less than `_MESSAGES_PER_S` since 2020: a simulated meter
    keeps no counter over its restart, and a nonce must not come twice."""
    return max(1, (at_ms - _EPOCH_MS) // 1_000 * _MESSAGES_PER_S)


@dataclass(frozen=True, slots=True)
class Letter:
    """An opened request and how it came."""

    plaintext: bytes
    form: Form = Form.PLAIN
    security: int = 0


@dataclass(slots=True)
class Peer:
    """What the meter knows of the client of one association."""

    number: int
    title: bytes = b""
    dedicated: bytes | None = None
    dedicated_counter: int = -1
    transaction: bytes = b""


@dataclass(slots=True)
class MeterCiphers:
    """Keys and counters of one meter. `sent` is the next counter it uses itself."""

    keys: MeterKeys
    quirks: QuirkBoard
    sent: int = 1
    received: dict[int, int] = field(default_factory=dict)
    _fresh: dict[str, bytes] = field(default_factory=dict, init=False)

    def counter(self, number: int) -> int:
        """The last counter taken from the client of association `number`."""
        return self.received.get(number, 0)

    def open(self, request: Apdu, peer: Peer, whole: bytes) -> Letter | bytes:
        """The request in plain, or the exception response that refuses it."""
        if isinstance(request, CipheredService):
            form = Form.DEDICATED if request.tag in _DEDICATED else Form.GLOBAL
            return self._unsealed(request.sealed, form, peer, peer.title)
        if isinstance(request, GeneralGlo):
            return self._unsealed(request.sealed, Form.GENERAL_GLOBAL, peer, request.title or peer.title)
        if isinstance(request, GeneralDed):
            return self._unsealed(request.sealed, Form.GENERAL_DEDICATED, peer, request.title or peer.title)
        if isinstance(request, GeneralCiphered):
            peer.transaction = request.transaction
            return self._unsealed(request.sealed, Form.GENERAL, peer, request.title, request)
        return Letter(whole)

    def _unsealed(
        self, sealed: Sealed, form: Form, peer: Peer, title: bytes, general: GeneralCiphered | None = None
    ) -> Letter | bytes:
        keys = self._content_keys(general) if general else self._keys(form, peer)
        if keys is None or sealed.security & _SUITE != self.keys.suite:
            return DECIPHERING_ERROR
        try:
            plaintext = unseal(keys, title, sealed, general.header() if general else b"").plaintext
        except MeterFault:
            return DECIPHERING_ERROR
        if refusal := self._refuse_counter(sealed.counter, form, peer):
            return refusal
        return Letter(plaintext, form, sealed.security & BOTH)

    def _refuse_counter(self, counter: int, form: Form, peer: Peer) -> bytes:
        """Take the counter, or say which one is expected."""
        dedicated = form in (Form.DEDICATED, Form.GENERAL_DEDICATED)
        last = peer.dedicated_counter if dedicated else self.received.get(peer.number, 0)
        if not dedicated and self.quirks.acts(Quirk.COUNTER_ERROR):
            last = self.received[peer.number] = max(last, counter) + _COUNTER_STEP
        if counter <= last:
            return ExceptionResponse(2, 6, last + 1).octets()
        if dedicated:
            peer.dedicated_counter = counter
        else:
            self.received[peer.number] = counter
        return b""

    def close(self, apdu: bytes, form: Form, security: int, peer: Peer) -> bytes:
        """An answer of the meter, wrapped as the request was."""
        answer = self._wrapped(apdu, form, security, peer)
        self._turn_over()
        return answer

    def _wrapped(self, apdu: bytes, form: Form, security: int, peer: Peer) -> bytes:
        if form is Form.PLAIN:
            return apdu
        if form is Form.GENERAL:
            return self._general(apdu, security, peer)
        sealed = self.sealed(apdu, security, self._keys(form, peer) or self._global())
        if form is Form.GENERAL_GLOBAL:
            return GeneralGlo(self.keys.title, sealed).octets()
        if form is Form.GENERAL_DEDICATED:
            return GeneralDed(self.keys.title, sealed).octets()
        return CipheredService(apdu[0] + (0x10 if form is Form.DEDICATED else 0x08), sealed).octets()

    def _general(self, apdu: bytes, security: int, peer: Peer) -> bytes:
        empty = GeneralCiphered(peer.transaction, self.keys.title, peer.title, b"", b"", _UNICAST, Sealed(0, 0, b""))
        sealed = self.sealed(apdu, security, self._global(), empty.header())
        return replace(empty, sealed=sealed).octets()

    def initiate(self, apdu: bytes, security: int) -> bytes:
        """The initiate response of an AARE, ciphered."""
        return CipheredService(GLOBAL_INITIATE_RESPONSE, self.sealed(apdu, security, self._global())).octets()

    def general(self, apdu: bytes, security: int) -> bytes:
        """A PDU sent unasked."""
        return GeneralGlo(self.keys.title, self.sealed(apdu, security, self._global())).octets()

    def sealed(self, apdu: bytes, security: int, keys: CipherKeys, header: bytes = b"") -> Sealed:
        counter, self.sent = self.sent, self.sent + 1
        return seal(keys, self.keys.title, counter, security | self.keys.suite, apdu, header)

    def tag_of(self, challenge: bytes) -> bytes:
        """The GMAC proof: security control, counter and tag over the challenge."""
        octets = self.sealed(challenge, AUTHENTICATED, self._global()).octets()
        return octets[:5] + octets[5 + len(challenge) :]

    def proves(self, answer: bytes, challenge: bytes, peer: Peer) -> bool:
        """Whether `answer` is the client's GMAC proof over the meter's challenge."""
        if len(answer) != 17 or answer[0] != AUTHENTICATED | self.keys.suite:
            return False
        sealed = Sealed(answer[0], int.from_bytes(answer[1:5], "big"), challenge + answer[5:])
        try:
            return unseal(self._global(), peer.title, sealed).verified
        except MeterFault:
            return False

    def replace_after_answer(self, fresh: dict[str, bytes]) -> None:
        """Keys that hold once the next answer is out (names of `MeterKeys`); counters start afresh with them."""
        self._fresh = fresh

    def _turn_over(self) -> None:
        if self._fresh:
            self.keys, self._fresh = replace(self.keys, **self._fresh), {}  # type: ignore[arg-type]
            self.received.clear()

    def _global(self) -> CipherKeys:
        return CipherKeys(self.keys.unicast, self.keys.authentication)

    def _content_keys(self, general: GeneralCiphered) -> CipherKeys | None:
        """The key that general-ciphering names: the unicast one, or one that comes wrapped with the master key."""
        info = general.key_info or _UNICAST
        if info == _UNICAST:
            return self._global()
        if info[:2] != _WRAPPED_BY_MASTER:
            return None
        try:
            return CipherKeys(aes_key_unwrap(self.keys.master, info[3:]), self.keys.authentication)
        except (InvalidUnwrap, ValueError):
            return None

    def _keys(self, form: Form, peer: Peer) -> CipherKeys | None:
        if form not in (Form.DEDICATED, Form.GENERAL_DEDICATED):
            return self._global()
        return None if peer.dedicated is None else CipherKeys(peer.dedicated, self.keys.authentication)
