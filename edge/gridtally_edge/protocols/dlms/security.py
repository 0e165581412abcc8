"""What protects an association: keys, policy and counters, and the sealing and opening of its PDUs.

* Suites 0, 1 and 2, symmetric part (AES-GCM-128 or -256). A PDU is sealed service by service (glo-, ded-), as
  general-glo or general-ded, or as general-ciphering.
* The global key also seals the initiate; a dedicated key, where wanted, travels in there and serves the rest.
* An answer must be protected at least as the policy says, come from the meter's title, and its counter must have
  risen. Only the refusals (exception-response, confirmed-service-error) may come plain, and they carry no value.

Source: IEC 62056-5-3, 5.3.7 and 9.2.7 (Green Book 9.2.7); safety.md 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from enum import Enum, IntFlag
from secrets import token_bytes
from typing import Final

from gridtally_edge.protocols.dlms.apdu import decode_apdu
from gridtally_edge.protocols.dlms.ciphering import (
    CipheredService,
    CipherKeys,
    GeneralCiphered,
    GeneralDed,
    GeneralGlo,
    Opened,
    Sealed,
    seal,
    unseal,
)
from gridtally_edge.protocols.dlms.counters import Counters, MemoryCounters, channel_name
from gridtally_shared.errors import MeterFault, SecurityFault
from gridtally_shared.records import dataclass

Entropy = Callable[[int], bytes]
KEY_OCTETS: Final = {0: 16, 1: 16, 2: 32}
MAX_JUMP: Final = 100_000


class Policy(IntFlag):
    """What is done to each PDU; the bits are those of the security control octet."""

    NONE = 0
    AUTHENTICATED = 0x10
    ENCRYPTED = 0x20
    BOTH = 0x30


class Form(Enum):
    """How a sealed PDU is dressed."""

    SERVICE = "service"
    GENERAL = "general"
    CIPHERED = "general-ciphering"


@dataclass(frozen=True, slots=True)
class CounterRepair:
    """A meter's word, which nobody signed, pushed our counter from `ours` to `theirs`: worth an alarm."""

    channel: str
    ours: int
    theirs: int


@dataclass(frozen=True, slots=True)
class Security:
    """One client's protection towards one meter. `title` (8 octets) is ours; `keys` are the global ones, 16 octets
    each, 32 in suite 2. `meter_title` is needed only where no AARE tells it (pre-established association).

    `max_jump` bounds how far a meter's word may push our counter; `on_repair` hears of it. Raises ValueError for keys that do not fit."""

    title: bytes
    keys: CipherKeys
    counters: Counters
    policy: Policy = Policy.BOTH
    suite: int = 0
    form: Form = Form.SERVICE
    dedicated: bool = False
    meter_title: bytes | None = None
    max_jump: int = MAX_JUMP
    on_repair: Callable[[CounterRepair], None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        wanted = KEY_OCTETS.get(self.suite)
        sizes = {len(k) for k in (self.keys.encryption, self.keys.authentication) if k is not None}
        if wanted is None or sizes != {wanted} or len(self.title) != 8:
            raise ValueError(f"suite {self.suite} needs keys of {wanted} octets and a title of 8")
        if self.policy & Policy.AUTHENTICATED and self.keys.authentication is None:
            raise ValueError("authentication needs the authentication key")
        if self.dedicated and not self.policy & Policy.ENCRYPTED:
            raise ValueError("a dedicated key must travel encrypted")

    @property
    def channel(self) -> str:
        """Our sending channel under the global key."""
        return channel_name(self.title, self.keys.encryption)


_CIPHERED_TAGS: Final = {
    0x01: (0x21, 0x41), 0x08: (0x28, 0x48), 0x0E: (0x2E, 0x4E),
    0xC0: (0xC8, 0xD0), 0xC1: (0xC9, 0xD1), 0xC2: (0xCA, 0xD2), 0xC3: (0xCB, 0xD3),
    0xC4: (0xCC, 0xD4), 0xC5: (0xCD, 0xD5), 0xC7: (0xCF, 0xD7),
}  # fmt: skip
"""Plain tag: its glo- and its ded- tag."""

DEDICATED_TAGS: Final = frozenset(ded for _, ded in _CIPHERED_TAGS.values())
PLAIN_TAG: Final = {tag: plain for plain, pair in _CIPHERED_TAGS.items() for tag in pair}
_REFUSALS: Final = (b"\xd8", b"\x0e")
_GLOBAL_KEY: Final = b"\x00\x00"
_OWN: Final = "dedicated"
_OVERHEAD: Final = 80


@dataclass(slots=True)
class Guard:
    """The protection of one association, from AARQ to release. `meter_title` is known once the AARE came."""

    security: Security
    meter_title: bytes | None = None
    dedicated: CipherKeys | None = None
    _own: MemoryCounters = field(default_factory=MemoryCounters)
    _transaction: int = 0

    @classmethod
    def begin(cls, security: Security, entropy: Entropy = token_bytes) -> Guard:
        """A new association; makes its dedicated key where one is wanted."""
        own = CipherKeys(entropy(KEY_OCTETS[security.suite]), security.keys.authentication) if security.dedicated else None
        return cls(security, security.meter_title, own)

    def seal_initiate(self, initiate: bytes) -> bytes:
        """The initiate request (or that of a release), always under the global key."""
        return CipheredService(_CIPHERED_TAGS[initiate[0]][0], self._sealed(initiate, False)).octets()

    def seal(self, apdu: bytes) -> bytes:
        """A PDU of ours, dressed as the settings say. Tags without a ciphered form of their own go out as general."""
        if not self.security.policy:
            return apdu
        own = self.dedicated is not None
        if self.security.form is Form.CIPHERED:
            return self._general(apdu).octets()
        pair = _CIPHERED_TAGS.get(apdu[0])
        sealed = self._sealed(apdu, own)
        if self.security.form is Form.SERVICE and pair:
            return CipheredService(pair[own], sealed).octets()
        return (GeneralDed if own else GeneralGlo)(self.security.title, sealed).octets()

    @property
    def overhead(self) -> int:
        """Octets that sealing adds at most."""
        return _OVERHEAD if self.security.policy else 0

    def open(self, apdu: bytes) -> bytes:
        """The plain PDU of an answer. Raises SecurityFault where it is not protected as agreed, forged or replayed."""
        if not self.security.policy or apdu[:1] in _REFUSALS:
            return apdu
        message = decode_apdu(apdu)
        if isinstance(message, CipheredService):
            plain = self._opened(message.sealed, message.tag in DEDICATED_TAGS)
            if plain[:1] != bytes([PLAIN_TAG.get(message.tag, 0)]):
                raise SecurityFault("a ciphered answer holds another service than its tag says")
            return plain
        if not isinstance(message, GeneralGlo | GeneralDed | GeneralCiphered):
            raise SecurityFault("the meter answers without the protection agreed on")
        if message.title and message.title != self.meter_title:
            raise SecurityFault(f"the answer comes from {message.title.hex()}, not from this meter")
        headers = (message.header(), b"") if isinstance(message, GeneralCiphered) else (b"",)
        return self._opened(message.sealed, isinstance(message, GeneralDed), headers)

    def _sealed(self, plaintext: bytes, own: bool, header: bytes = b"") -> Sealed:
        s = self.security
        counter = self._own.take(_OWN) if own else s.counters.take(s.channel)
        keys = self.dedicated if own and self.dedicated else s.keys
        return seal(keys, s.title, counter, s.policy | s.suite, plaintext, header)

    def _general(self, apdu: bytes) -> GeneralCiphered:
        self._transaction += 1
        transaction = self._transaction.to_bytes(8, "big")
        empty = GeneralCiphered(transaction, self.security.title, self.meter_title or b"", b"", b"", _GLOBAL_KEY, Sealed(0, 0, b""))
        return replace(empty, sealed=self._sealed(apdu, False, empty.header()))

    def _opened(self, sealed: Sealed, own: bool, headers: tuple[bytes, ...] = (b"",)) -> bytes:
        policy = self.security.policy
        if sealed.security & policy != policy:
            raise SecurityFault("the meter answers with less protection than agreed on")
        if own and self.dedicated is None:
            raise SecurityFault("the meter uses a dedicated key that was never agreed on")
        keys = self.dedicated if own and self.dedicated else self.security.keys
        title = self.meter_title or b""
        plain = unseal_any(keys, title, sealed, headers).plaintext
        counters: Counters = self._own if own else self.security.counters
        if not counters.hear(channel_name(title, keys.encryption), sealed.counter):
            raise SecurityFault(f"the meter's invocation counter {sealed.counter} did not rise: a replay, or a meter that lost its counter")
        return plain


def repair_counter(security: Security, expected: int) -> None:
    """Send with more than `expected` from now on (some meters tell the last one they saw): what an exception-response
    asks for, or the meter's counter object read by the public client. Raises MeterFault where that is no rise or a jump
    beyond the bound."""
    ours = security.counters.next_of(security.channel)
    if not ours <= expected <= ours + security.max_jump:
        raise MeterFault(
            f"the meter wants invocation counter {expected}, ours stands at {ours}: "
            "not followed; set the counter by hand or give the meter a new key"
        )
    security.counters.raise_to(security.channel, expected + 1)
    if security.on_repair:
        security.on_repair(CounterRepair(security.channel, ours, expected))


def unseal_any(keys: CipherKeys, title: bytes, sealed: Sealed, headers: tuple[bytes, ...]) -> Opened:
    """`unseal` with the first header that fits (some meters authenticate the head of general-ciphering, some do not)."""
    for header in headers[:-1]:
        try:
            return unseal(keys, title, sealed, header)
        except MeterFault:
            continue
    return unseal(keys, title, sealed, headers[-1])
