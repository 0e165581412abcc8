"""A simulated wireless M-Bus meter and the stick that hears it: a home's registers as radio frames, no I/O.

* Plain, mode 5, mode 7 with its authentication layer, or AES-CTR of the extended link layer; format A or B with CRCs, or
  without them as most sticks give it.
* `framed` wraps a frame as the named receiver does. `WmbusSender.telegram` counts the access number up, as a meter does
  from one sending to the next.
* It is checked against the published examples of OMS annex N, not against our decoder alone.

Source: EN 13757-4:2019, EN 13757-7:2018; OMS specification 4.1, volume 2.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from gridtally_edge.protocols.mbus.crc import crc16_en13757
from gridtally_edge.protocols.mbus.header import Identity, maker_octets
from gridtally_edge.protocols.wmbus import security as ciphers
from gridtally_edge.protocols.wmbus.link import B_LONGEST_BLOCK, CRC_BYTES, FIRST_BLOCK, NEXT_BLOCK
from gridtally_edge.protocols.wmbus.receivers import (
    AMBER_START,
    AMBER_TELEGRAM,
    IMST_CRC,
    IMST_RADIO,
    IMST_RSSI,
    IMST_START,
    IMST_TELEGRAM,
    imst_crc,
    xor_of,
)
from gridtally_edge.simulators.mbus import house_identity, house_records
from gridtally_edge.simulators.meter import SimMeter
from gridtally_shared.records import dataclass

SND_NR: Final = 0x44
SIMULATED_RSSI: Final = 0x50


class Cipher(Enum):
    PLAIN = "plain"
    MODE_5 = "mode5"
    MODE_7 = "mode7"
    SESSION = "session"


def address_octets(identity: Identity) -> bytes:
    """M, number, version, type in the order of a radio frame."""
    number = bytes.fromhex(identity.number)[::-1]
    return maker_octets(identity.maker) + number + bytes((identity.version, identity.medium))


def filled(records: bytes) -> bytes:
    """Records behind 2F 2F and filled up to whole blocks."""
    plain = ciphers.FILLED + records
    return plain + b"\x2f" * (-len(plain) % ciphers.BLOCK)


def plain_body(access: int, records: bytes) -> bytes:
    return bytes((0x7A, access, 0, 0, 0)) + records


def mode_5_body(address: bytes, key: bytes, access: int, records: bytes, flags: int = 0) -> bytes:
    """Short header; `flags` are the upper bits of the configuration word (0x2000: synchronous)."""
    blocks = filled(records)
    word = flags | 0x0500 | len(blocks) // ciphers.BLOCK << 4
    vector = ciphers.mode5_vector(address, access)
    return bytes((0x7A, access, 0)) + word.to_bytes(2, "little") + ciphers.encrypt_cbc(key, vector, blocks)


def mode_7_body(address: bytes, key: bytes, access: int, counter: bytes, records: bytes) -> bytes:
    """Authentication layer with counter and eight octets of CMAC in front of a short header of mode 7."""
    number, blocks = address[2:6], filled(records)
    own = ciphers.message_key(key, ciphers.ENCRYPTION, counter, number)
    word = 0x0700 | len(blocks) // ciphers.BLOCK << 4
    sealed = ciphers.encrypt_cbc(own, bytes(ciphers.BLOCK), blocks)
    transport = bytes((0x7A, access, 0)) + word.to_bytes(2, "little") + b"\x10" + sealed
    covered = b"\x25" + counter
    mac = ciphers.cmac(ciphers.message_key(key, ciphers.AUTHENTICATION, counter, number), covered + transport)[:8]
    return bytes((0x90, 0x0F)) + (0x2C00).to_bytes(2, "little") + covered + mac + transport


def session_body(address: bytes, key: bytes, access: int, session: bytes, records: bytes, control: int = 0x20) -> bytes:
    """Extended link layer with AES-CTR (the upper bits of the session number must say 1)."""
    inner = b"\x78" + records
    plain = crc16_en13757(inner).to_bytes(2, "little") + inner
    sealed = ciphers.crypt_ctr(key, ciphers.session_counter(address, control, session), plain)
    return bytes((0x8D, control, access)) + session + sealed


def frame_of(address: bytes, body: bytes, control: int = SND_NR) -> bytes:
    """A frame from its L field on, without CRCs."""
    inner = bytes((control,)) + address + body
    return bytes((len(inner),)) + inner


def in_format_a(frame: bytes) -> bytes:
    blocks = [frame[:FIRST_BLOCK]] + [frame[n : n + NEXT_BLOCK] for n in range(FIRST_BLOCK, len(frame), NEXT_BLOCK)]
    return b"".join(block + _crc(block) for block in blocks)


def in_format_b(frame: bytes) -> bytes:
    """L counts the CRCs here."""
    total = len(frame) + (CRC_BYTES if len(frame) <= B_LONGEST_BLOCK else 2 * CRC_BYTES)
    counted = bytes((total - 1,)) + frame[1:]
    blocks = [counted[:B_LONGEST_BLOCK], counted[B_LONGEST_BLOCK:]]
    return b"".join(block + _crc(block) for block in blocks if block)


def _crc(block: bytes) -> bytes:
    return crc16_en13757(block).to_bytes(CRC_BYTES, "big")


def as_imst(frame: bytes) -> bytes:
    payload = frame[1:]
    head = bytes((IMST_RSSI | IMST_CRC | IMST_RADIO, IMST_TELEGRAM, len(payload))) + payload + bytes((SIMULATED_RSSI,))
    return bytes((IMST_START,)) + head + imst_crc(head).to_bytes(2, "little")


def as_amber(frame: bytes) -> bytes:
    command = bytes((AMBER_START, AMBER_TELEGRAM, frame[0])) + frame[1:] + bytes((SIMULATED_RSSI,))
    return command + bytes((xor_of(command),))


def as_text(frame: bytes) -> bytes:
    number = frame[4:8][::-1].hex()
    return f"T1;1;1;2026-01-01 00:00:00.000;{SIMULATED_RSSI};148;{number};0x{frame.hex()}\n".encode()


FRAMINGS: dict[str, Callable[[bytes], bytes]] = {
    "im871a": as_imst,
    "im170a": as_imst,
    "amb8465": as_amber,
    "amb3665": as_amber,
    "transparent": bytes,
    "rtl-wmbus": as_text,
}


def framed(receiver: str, frame: bytes) -> bytes:
    """A frame as this receiver hands it to its host."""
    return FRAMINGS[receiver](frame)


@dataclass(slots=True)
class WmbusSender:
    """One simulated home that sends by radio. `counter` rises with each telegram and must never come back under one key."""

    meter: SimMeter
    medium: int
    cipher: Cipher = Cipher.MODE_5
    key: bytes = bytes(range(16))
    maker: str = "GTY"
    version: int = 1
    utc_offset_min: int = 60
    counter: int = 0

    @property
    def identity(self) -> Identity:
        return house_identity(self.meter, self.medium, self.maker, self.version)

    def telegram(self) -> bytes:
        """The next frame, from its L field on, without CRCs."""
        self.counter += 1
        access, address = self.counter & 0xFF, address_octets(self.identity)
        records = house_records(self.meter, self.medium, self.utc_offset_min)
        return frame_of(address, self._body(address, access, records))

    def _body(self, address: bytes, access: int, records: bytes) -> bytes:
        if self.cipher is Cipher.PLAIN:
            return plain_body(access, records)
        if self.cipher is Cipher.MODE_5:
            return mode_5_body(address, self.key, access, records)
        if self.cipher is Cipher.MODE_7:
            return mode_7_body(address, self.key, access, self.counter.to_bytes(4, "little"), records)
        session = (1 << 29 | self.counter << 4).to_bytes(4, "little")
        return session_body(address, self.key, access, session, records)
