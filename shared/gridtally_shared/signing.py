"""COSE_Sign1 with Ed25519 (RFC 9052, RFC 9053), as every signed message of the contract travels.

* The signature is verified over the received payload bytes, before they are decoded; unknown keys inside survive.
* The protected header holds the algorithm (-8, EdDSA), the key id and the channel name, so that a signed message of one
  kind can not be replayed as another.
* Only the tagless four-element form is written and read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gridtally_shared import cbor
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

ALG, KID, CONTENT_TYPE = 1, 4, 3
EDDSA = -8


class Signer(Protocol):
    """Port to whoever holds the private key: a file today, a PKCS#11 token or another process tomorrow."""

    @property
    def key_id(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class KeySigner:
    """Signs with a key in this process."""

    key_id: bytes
    private_key: Ed25519PrivateKey

    @classmethod
    def from_seed(cls, seed: bytes) -> KeySigner:
        """From the 32 secret bytes of a key file."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(key_id_of(public_bytes(private)), private)

    def sign(self, message: bytes) -> bytes:
        return self.private_key.sign(message)

    @property
    def public(self) -> bytes:
        return public_bytes(self.private_key)


def public_bytes(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


def key_id_of(public: bytes) -> bytes:
    """Eight bytes that name a public key."""
    return hashlib.sha256(public).digest()[:8]


def sign1(signer: Signer, channel: str, payload: bytes) -> bytes:
    """Envelope of `payload` for the named channel."""
    protected = cbor.dumps({ALG: EDDSA, CONTENT_TYPE: channel, KID: signer.key_id})
    return cbor.dumps([protected, {}, payload, signer.sign(_to_be_signed(protected, payload))])


def verify1(keys: Mapping[bytes, bytes], channel: str, envelope: bytes) -> bytes:
    """The payload, once its signature by one of `keys` (key id -> public key) is verified. Raises ContractError."""
    protected, payload, signature = open_unverified(envelope)
    header = cbor.loads(protected)
    if not isinstance(header, dict) or header.get(ALG) != EDDSA:
        raise ContractError("the envelope is not signed with EdDSA")
    if header.get(CONTENT_TYPE) != channel:
        raise ContractError(f"signed for {header.get(CONTENT_TYPE)!r}, not for {channel!r}")
    key_id = header.get(KID)
    public = keys.get(key_id) if isinstance(key_id, bytes) else None
    if public is None:
        raise ContractError("signed with a key this side does not know")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _to_be_signed(protected, payload))
    except InvalidSignature:
        raise ContractError("the signature does not match") from None
    return payload


def open_unverified(envelope: bytes) -> tuple[bytes, bytes, bytes]:
    """Protected header, payload and signature, nothing checked but the form. For verify1 and for display."""
    parts: Any = cbor.loads(envelope)
    if not isinstance(parts, list) or len(parts) != 4 or parts[1] != {}:
        raise ContractError("not a COSE_Sign1 envelope")
    protected, _, payload, signature = parts
    if not all(isinstance(p, bytes) for p in (protected, payload, signature)):
        raise ContractError("not a COSE_Sign1 envelope")
    return protected, payload, signature


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    return cbor.dumps(["Signature1", protected, b"", payload])
