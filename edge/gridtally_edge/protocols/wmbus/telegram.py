"""From a radio frame to readings' records: layer by layer, deciphered with the meter's key.

* Nothing is taken from a telegram whose proof is wrong: CRC of the extended link layer, CMAC, the two octets 2F behind a
  deciphered start. The fault says whether the key is missing or does not fit.
* A mode 5 telegram may be ciphered in its first blocks only; the rest is read as it stands.
* A telegram that a gateway already deciphered keeps its session number; it is taken when its CRC fits as it is.
* `Security` says how well it is proved: nothing but a CRC, a cipher, or a CMAC.

Source: EN 13757-7:2018; OMS specification 4.1, volume 2; annex N (examples).
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from hmac import compare_digest
from typing import Final

from gridtally_edge.protocols.mbus.compact import Formats, read_compact
from gridtally_edge.protocols.mbus.crc import crc16_en13757
from gridtally_edge.protocols.mbus.header import LONG_HEADER, Header, Identity
from gridtally_edge.protocols.mbus.records import Records, read_records
from gridtally_edge.protocols.mbus.telegram import COMPACT, ERROR_CI, HEADERS, application_error, split_header
from gridtally_edge.protocols.wmbus import security as ciphers
from gridtally_edge.protocols.wmbus.layers import (
    AFL,
    SESSION_CRC,
    Authentication,
    ExtendedLink,
    is_extended_link,
    read_authentication,
    read_extended_link,
)
from gridtally_edge.protocols.wmbus.link import RadioFrame
from gridtally_shared.errors import MeterFault
from gridtally_shared.records import dataclass

KEY_BYTES: Final = 16
MODE_SHIFT, MODE_MASK, BLOCKS_SHIFT = 8, 0x1F, 4
NEEDS_KEY: Final = "the telegram is ciphered: give the meter's key (16 octets)"
WRONG_KEY: Final = "the key does not fit this meter"


class Security(Enum):
    """PLAIN: not ciphered. CIPHERED: deciphered and plausible. AUTHENTIC: its CMAC is right too."""

    PLAIN = "plain"
    CIPHERED = "ciphered"
    AUTHENTIC = "authentic"


@dataclass(frozen=True, slots=True)
class RadioTelegram:
    """`identity` is the meter's: of the long header where there is one (a radio module may send for a meter), else the
    sender's. `access` counts its telegrams."""

    identity: Identity
    header: Header
    access: int
    mode: int
    security: Security
    contents: Records


@dataclass(frozen=True, slots=True)
class _Opening:
    """What is known on the way through the layers."""

    frame: RadioFrame
    key: bytes | None
    body: bytes
    access: int | None = None
    security: Security = Security.PLAIN
    authentication: Authentication | None = None


def open_telegram(frame: RadioFrame, key: bytes | None = None, formats: Formats | None = None) -> RadioTelegram:
    """Raises MeterFault for a telegram that is damaged, ciphered without a (right) key, or of a kind that is not known."""
    if key is not None and len(key) != KEY_BYTES:
        raise ValueError(f"a key of wireless M-Bus has {KEY_BYTES} octets")
    opening = _Opening(frame, key, frame.body)
    if opening.body and is_extended_link(opening.body[0]):
        opening = _through_link(opening)
    if opening.body[:1] == bytes((AFL,)):
        opening = _through_authentication(opening)
    return _through_transport(opening, formats)


def _through_link(opening: _Opening) -> _Opening:
    link = read_extended_link(opening.body)
    body, security = link.rest, Security.PLAIN
    if link.session:
        body, security = _session(opening, link)
    return replace(opening, body=body, access=link.access, security=security)


def _session(opening: _Opening, link: ExtendedLink) -> tuple[bytes, Security]:
    """The octets behind the CRC of a session, deciphered where they are ciphered."""
    if _crc_fits(link.rest):
        return link.rest[SESSION_CRC:], Security.PLAIN
    if not link.is_ciphered:
        raise MeterFault("the CRC of the extended link layer is wrong: no value can be taken from this telegram")
    if opening.key is None:
        raise MeterFault(NEEDS_KEY)
    counter = ciphers.session_counter(opening.frame.address, link.control, link.session)
    plain = ciphers.crypt_ctr(opening.key, counter, link.rest)
    if not _crc_fits(plain):
        raise MeterFault(WRONG_KEY)
    return plain[SESSION_CRC:], Security.CIPHERED


def _crc_fits(octets: bytes) -> bool:
    return crc16_en13757(octets[SESSION_CRC:]) == int.from_bytes(octets[:SESSION_CRC], "little")


def _through_authentication(opening: _Opening) -> _Opening:
    layer = read_authentication(opening.body)
    if layer.more_fragments or layer.fragment > 1:
        raise MeterFault("the message comes in several fragments; only the whole ones are read")
    return replace(opening, body=layer.rest, authentication=layer)


def _through_transport(opening: _Opening, formats: Formats | None) -> RadioTelegram:
    body = opening.body
    if not body:
        raise MeterFault("the radio frame carries nothing")
    ci = body[0]
    if ci == ERROR_CI:
        raise MeterFault(f"the meter answers: {application_error(body[1:])}")
    if ci not in HEADERS:
        raise MeterFault(f"the CI field {ci:02X} carries no readings that are known here")
    header, length = split_header(ci, body[1:])
    mode = header.configuration >> MODE_SHIFT & MODE_MASK if length else 0
    plain, security = _deciphered(opening, header, mode, 1 + length)
    contents = _contents(ci, plain, formats)
    identity = header.identity or opening.frame.sender
    access = header.access if length else opening.access or 0
    return RadioTelegram(identity, header, access, mode, security, contents)


def _contents(ci: int, plain: bytes, formats: Formats | None) -> Records:
    if ci in COMPACT:
        return read_compact(plain, formats or Formats())
    contents = read_records(plain)
    if formats is not None:
        formats.learn(plain)
    return contents


def _deciphered(opening: _Opening, header: Header, mode: int, start: int) -> tuple[bytes, Security]:
    """The records' octets. The body up to `start` is the CI field and its header."""
    if mode == 0:
        return opening.body[start:], _checked_mac(opening, header, opening.security)
    opener = {5: _mode_5, 7: _mode_7}.get(mode)
    if opener is None:
        raise MeterFault(f"the telegram is ciphered in mode {mode}, which is not known here")
    if opening.key is None:
        raise MeterFault(NEEDS_KEY)
    security = _checked_mac(opening, header, Security.CIPHERED)
    return opener(opening, opening.key, header, start), security


def _mode_5(opening: _Opening, key: bytes, header: Header, start: int) -> bytes:
    vector = ciphers.mode5_vector(_address(opening, header), header.access)
    return _opened_blocks(key, vector, header, opening.body[start:])


def _mode_7(opening: _Opening, key: bytes, header: Header, start: int) -> bytes:
    """One more octet of configuration, then the blocks; the counter is that of the authentication layer."""
    counter = opening.authentication.counter if opening.authentication else b""
    if len(counter) != 4:
        raise MeterFault("a telegram in mode 7 without its message counter")
    own = ciphers.message_key(key, ciphers.ENCRYPTION, counter, _address(opening, header)[2:6])
    return _opened_blocks(own, bytes(ciphers.BLOCK), header, opening.body[start + 1 :])


def _opened_blocks(key: bytes, vector: bytes, header: Header, octets: bytes) -> bytes:
    size = ciphers.BLOCK * (header.configuration >> BLOCKS_SHIFT & 0x0F)
    if size > len(octets):
        raise MeterFault(f"the telegram announces {size} ciphered octets and has {len(octets)}")
    if not size:
        return octets
    plain = ciphers.decrypt_cbc(key, vector, octets[:size])
    if not plain.startswith(ciphers.FILLED):
        raise MeterFault(WRONG_KEY)
    return plain + octets[size:]


def _checked_mac(opening: _Opening, header: Header, otherwise: Security) -> Security:
    layer = opening.authentication
    if layer is None or not layer.mac or opening.key is None or len(layer.counter) != 4:
        return otherwise
    own = ciphers.message_key(opening.key, ciphers.AUTHENTICATION, layer.counter, _address(opening, header)[2:6])
    wanted = ciphers.cmac(own, layer.covered + opening.body)[: len(layer.mac)]
    if not compare_digest(wanted, layer.mac):
        raise MeterFault(f"the message authentication code is wrong: the telegram is damaged or forged, or {WRONG_KEY}")
    return Security.AUTHENTIC


def _address(opening: _Opening, header: Header) -> bytes:
    """M, number, version, type of the meter, in the order of a radio frame."""
    if header.identity is None:
        return opening.frame.address
    own = opening.body[1 : 1 + LONG_HEADER]
    return own[4:6] + own[:4] + own[6:8]
