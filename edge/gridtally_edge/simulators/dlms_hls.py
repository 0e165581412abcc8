"""The proofs of high-level security (IEC 62056-5-3, 5.3.2.4), as the simulated meter reckons them.

* HLS 2: AES-128 in ECB mode over the challenge, keyed with the secret. MD5 and SHA-1: digest of challenge and secret.
* SHA-256: digest of secret, both system titles and both challenges. GMAC: security control, counter and tag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import field
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from gridtally_edge.protocols.dlms.acse import Mechanism
from gridtally_shared.records import dataclass

HIGH: Final = frozenset(
    {Mechanism.HLS, Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_GMAC, Mechanism.HLS_SHA256}
)


@dataclass(frozen=True, slots=True)
class Proof:
    """Who proves (`own`) to whom (`other`): titles and challenges. The prover answers the other side's challenge."""

    secret: bytes = field(repr=False)
    own_title: bytes
    other_title: bytes
    own_challenge: bytes
    other_challenge: bytes


def _ecb(proof: Proof) -> bytes:
    data, key = _padded(proof.other_challenge), proof.secret.ljust(16, b"\0")[:16]
    return Cipher(AES(key), ECB()).encryptor().update(data)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 16)


def _sha256(proof: Proof) -> bytes:
    titles = proof.own_title + proof.other_title
    return hashlib.sha256(proof.secret + titles + proof.other_challenge + proof.own_challenge).digest()


DIGESTS: Final[dict[int, Callable[[Proof], bytes]]] = {
    Mechanism.HLS: _ecb,
    Mechanism.HLS_MD5: lambda proof: hashlib.md5(proof.other_challenge + proof.secret, usedforsecurity=False).digest(),
    Mechanism.HLS_SHA1: lambda proof: hashlib.sha1(proof.other_challenge + proof.secret, usedforsecurity=False).digest(),
    Mechanism.HLS_SHA256: _sha256,
}
"""All mechanisms but GMAC, which needs the keys and a counter."""
