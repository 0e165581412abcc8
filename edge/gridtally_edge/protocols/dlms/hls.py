"""High level security: the answers to challenges, passes 3 and 4 (IEC 62056-5-3, 9.2.7.4).

* 2 as used in India: AES-128-ECB of the challenge under the secret. 3, 4: MD5 or SHA-1 of challenge and secret.
* 5: GMAC of the challenge under the global key, with a counter of its own. 6: SHA-256 of secret, both titles (the
  answering side first) and both challenges.
* Answers are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_edge.protocols.dlms.ciphering import AUTHENTICATED, TAG_OCTETS, CipherKeys, gmac
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

CHALLENGE_OCTETS: Final = 16
_GMAC_HEAD: Final = 5
_SUITE: Final = 0x0F
HLS: Final = frozenset(
    {Mechanism.HLS, Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_GMAC, Mechanism.HLS_SHA256}
)
"""The mechanisms that can be answered here; ECDSA is not among them."""


@dataclass(frozen=True, slots=True)
class Party:
    """One side: its title and the challenge it sent."""

    title: bytes
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Secrets:
    """`secret` is the HLS password; `keys` and `suite` serve GMAC. Nothing of it is ever shown."""

    secret: bytes = field(repr=False)
    keys: CipherKeys | None = None
    suite: int = 0


def answer(mechanism: int, secrets: Secrets, own: Party, other: Party, counter: int = 0) -> bytes:
    """What `own` sends back for the challenge of `other`. `counter` is for GMAC: fresh, on record as used.

    Raises ValueError for a mechanism not in HLS or a secret that does not fit it."""
    if mechanism == Mechanism.HLS_GMAC:
        return _gmac_answer(secrets, own.title, other.challenge, AUTHENTICATED | secrets.suite, counter)
    compute = _ANSWERS.get(mechanism)
    if compute is None:
        raise ValueError(f"authentication mechanism {mechanism} can not be answered")
    return compute(secrets.secret, own, other)


def is_right(mechanism: int, secrets: Secrets, own: Party, other: Party, received: bytes) -> bool:
    """Whether `received` is what `other` had to answer to the challenge of `own`."""
    if mechanism != Mechanism.HLS_GMAC:
        return hmac.compare_digest(received, answer(mechanism, secrets, other, own))
    if len(received) != _GMAC_HEAD + TAG_OCTETS or received[0] & ~_SUITE != AUTHENTICATED:
        return False
    counter = int.from_bytes(received[1:_GMAC_HEAD], "big")
    try:
        due = _gmac_answer(secrets, other.title, own.challenge, received[0], counter)
    except MeterFault:
        return False
    return hmac.compare_digest(received, due)


def _gmac_answer(secrets: Secrets, title: bytes, challenge: bytes, control: int, counter: int) -> bytes:
    if secrets.keys is None:
        raise ValueError("GMAC needs the global and the authentication key")
    return bytes([control]) + counter.to_bytes(4, "big") + gmac(secrets.keys, title, counter, control, challenge)


def _ecb(secret: bytes, own: Party, other: Party) -> bytes:
    if len(secret) != 16:
        raise ValueError("the secret of HLS 2 has 16 octets")
    challenge = other.challenge + bytes(-len(other.challenge) % 16)
    return Cipher(AES(secret), ECB()).encryptor().update(challenge)


def _md5(secret: bytes, own: Party, other: Party) -> bytes:
    return hashlib.md5(other.challenge + secret, usedforsecurity=False).digest()


def _sha1(secret: bytes, own: Party, other: Party) -> bytes:
    return hashlib.sha1(other.challenge + secret, usedforsecurity=False).digest()


def _sha256(secret: bytes, own: Party, other: Party) -> bytes:
    return hashlib.sha256(secret + own.title + other.title + other.challenge + own.challenge).digest()


_ANSWERS: Final[dict[int, Callable[[bytes, Party, Party], bytes]]] = {
    Mechanism.HLS: _ecb,
    Mechanism.HLS_MD5: _md5,
    Mechanism.HLS_SHA1: _sha1,
    Mechanism.HLS_SHA256: _sha256,
}
