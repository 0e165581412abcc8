"""DLMS security suites 0, 1 and 2, symmetric part: AES-GCM protection of PDUs (IEC 62056-5-3, 5.3.7).

* IV = system title (8) + invocation counter (4); tag 12 octets.
* Security control: 0x10 authenticated, 0x20 encrypted, 0x80 compressed (refused), low four bits the suite.
* Additional data = security control + authentication key, then the head of general-ciphering, and the plaintext too
  when it is only authenticated.
* Without the authentication key an encrypted PDU can be read and not be verified; `Opened.verified` says which.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from gridtally_edge.protocols.dlms.octets import Reader, encode_string
from gridtally_shared.errors import MeterFault, SecurityFault
from gridtally_shared.records import dataclass

AUTHENTICATED: Final = 0x10
ENCRYPTED: Final = 0x20
_COMPRESSED: Final = 0x80
TAG_OCTETS: Final = 12

SERVICE_TAGS: Final = frozenset((*range(0x21, 0x2D), 0x2E, 0x41, 0x48, 0x4E, *range(0xC8, 0xD8)))
"""Tags of PDUs ciphered one by one: glo- and ded- variants of initiate, get, set, action and event notification."""


@dataclass(frozen=True, slots=True)
class CipherKeys:
    """`encryption` has 16 octets (32 in suite 2). Never shown in a repr."""

    encryption: bytes = field(repr=False)
    authentication: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for key in (self.encryption, self.authentication):
            if key is not None and len(key) not in (16, 32):
                raise ValueError(f"a DLMS key has 16 or 32 octets, not {len(key)}")


@dataclass(frozen=True, slots=True)
class Sealed:
    """Protected content: security control, invocation counter, and ciphertext or plaintext with its tag."""

    security: int
    counter: int
    content: bytes

    @classmethod
    def from_octets(cls, octets: bytes) -> Sealed:
        reader = Reader(octets)
        return cls(reader.octet(), reader.number(4), reader.rest())

    def octets(self) -> bytes:
        return bytes([self.security]) + self.counter.to_bytes(4, "big") + self.content


@dataclass(frozen=True, slots=True)
class Opened:
    plaintext: bytes
    verified: bool


def seal(keys: CipherKeys, title: bytes, counter: int, security: int, plaintext: bytes, header: bytes = b"") -> Sealed:
    """Protect `plaintext`. The caller has stored `counter` before and never uses it again with this key."""
    iv = _iv(title, counter)
    if not security & AUTHENTICATED:
        return Sealed(security, counter, _counter_mode(keys.encryption, iv, plaintext) if security & ENCRYPTED else plaintext)
    if keys.authentication is None:
        raise ValueError("authentication needs the authentication key")
    encrypted = bool(security & ENCRYPTED)
    encryptor = Cipher(AES(keys.encryption), GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(_additional(keys.authentication, security, header, plaintext))
    content = encryptor.update(plaintext) if encrypted else b""
    encryptor.finalize()
    return Sealed(security, counter, (content if encrypted else plaintext) + encryptor.tag[:TAG_OCTETS])


def unseal(keys: CipherKeys, title: bytes, sealed: Sealed, header: bytes = b"") -> Opened:
    """The plaintext. Raises MeterFault for a wrong tag, a wrong title, or content that is compressed or too short."""
    if sealed.security & _COMPRESSED:
        raise MeterFault("compressed PDUs are not supported")
    iv = _iv(title, sealed.counter)
    if not sealed.security & AUTHENTICATED:
        encrypted = bool(sealed.security & ENCRYPTED)
        return Opened(_counter_mode(keys.encryption, iv, sealed.content) if encrypted else sealed.content, False)
    if len(sealed.content) < TAG_OCTETS:
        raise MeterFault("protected content shorter than its tag")
    content, tag = sealed.content[:-TAG_OCTETS], sealed.content[-TAG_OCTETS:]
    if keys.authentication is None:
        return Opened(_counter_mode(keys.encryption, iv, content) if sealed.security & ENCRYPTED else content, False)
    known = _additional(keys.authentication, sealed.security, header, content)
    return Opened(_verified(keys.encryption, known, iv, sealed.security, content, tag), True)


def _verified(key: bytes, known: bytes, iv: bytes, security: int, content: bytes, tag: bytes) -> bytes:
    encrypted = bool(security & ENCRYPTED)
    decryptor = Cipher(AES(key), GCM(iv, tag, min_tag_length=TAG_OCTETS)).decryptor()
    decryptor.authenticate_additional_data(known)
    plaintext = decryptor.update(content) if encrypted else b""
    try:
        decryptor.finalize()
    except InvalidTag:
        raise SecurityFault("the authentication tag is wrong: damaged, or other keys than the meter's") from None
    return plaintext if encrypted else content


def _additional(authentication: bytes, security: int, header: bytes, plaintext: bytes) -> bytes:
    return bytes([security]) + authentication + header + (b"" if security & ENCRYPTED else plaintext)


def gmac(keys: CipherKeys, title: bytes, counter: int, security: int, content: bytes) -> bytes:
    """The 12-octet tag alone, of content that is authenticated and not sent (HLS 5)."""
    return seal(keys, title, counter, security & ~ENCRYPTED | AUTHENTICATED, content).content[len(content) :]


def _iv(title: bytes, counter: int) -> bytes:
    if len(title) != 8:
        raise MeterFault(f"a system title has 8 octets, not {len(title)}")
    return title + counter.to_bytes(4, "big")


def _counter_mode(key: bytes, iv: bytes, content: bytes) -> bytes:
    """AES-GCM without its tag is counter mode starting at 2; the same function opens and closes."""
    return Cipher(AES(key), CTR(iv + b"\x00\x00\x00\x02")).encryptor().update(content)


@dataclass(frozen=True, slots=True)
class GeneralGlo:
    """general-glo-ciphering: carries its sender's title, so it can be opened without an association."""

    tags: ClassVar[bytes] = b"\xdb"
    title: bytes
    sealed: Sealed
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GeneralGlo:
        return cls(reader.string(), Sealed.from_octets(reader.string()), reader.rest())

    def octets(self) -> bytes:
        return self.tags + encode_string(self.title) + encode_string(self.sealed.octets()) + self.trailing


@dataclass(frozen=True, slots=True)
class GeneralDed:
    """general-ded-ciphering: the same under the key of one association."""

    tags: ClassVar[bytes] = b"\xdc"
    title: bytes
    sealed: Sealed
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GeneralDed:
        return cls(reader.string(), Sealed.from_octets(reader.string()), reader.rest())

    def octets(self) -> bytes:
        return self.tags + encode_string(self.title) + encode_string(self.sealed.octets()) + self.trailing


@dataclass(frozen=True, slots=True)
class GeneralCiphered:
    """general-ciphering: transaction, both titles, a time and other information; `key_info` as it came."""

    tags: ClassVar[bytes] = b"\xdd"
    transaction: bytes
    title: bytes
    recipient: bytes
    time: bytes
    other: bytes
    key_info: bytes | None
    sealed: Sealed
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, reader: Reader) -> GeneralCiphered:
        transaction, title, recipient, time, other = [reader.string() for _ in range(5)]
        key_info = _read_key_info(reader) if reader.flag() else None
        sealed = Sealed.from_octets(reader.string())
        return cls(transaction, title, recipient, time, other, key_info, sealed, reader.rest())

    def header(self) -> bytes:
        """The head as it is authenticated: five strings with their lengths."""
        return b"".join(map(encode_string, (self.transaction, self.title, self.recipient, self.time, self.other)))

    def octets(self) -> bytes:
        key = b"\x00" if self.key_info is None else b"\x01" + self.key_info
        return self.tags + self.header() + key + encode_string(self.sealed.octets()) + self.trailing


def _read_key_info(reader: Reader) -> bytes:
    """Identified key (a number), wrapped key (a number and a string) or agreed key (two strings), as octets."""
    start, choice = reader.position, reader.octet()
    if choice == 0:
        reader.octet()
    elif choice == 1:
        reader.octet()
        reader.string()
    elif choice == 2:
        reader.string()
        reader.string()
    else:
        raise MeterFault(f"unknown key information {choice}")
    return reader.data[start : reader.position]


@dataclass(frozen=True, slots=True)
class CipheredService:
    """A glo- or ded- ciphered PDU of one service; the title to open it is known from the association."""

    tag: int
    sealed: Sealed
    trailing: bytes = b""

    @classmethod
    def from_reader(cls, tag: int, reader: Reader) -> CipheredService:
        return cls(tag, Sealed.from_octets(reader.string()), reader.rest())

    def octets(self) -> bytes:
        return bytes([self.tag]) + encode_string(self.sealed.octets()) + self.trailing
