"""Ciphers of wireless M-Bus: mode 5, mode 7 and AES-CTR of the extended link layer; message authentication.

* Mode 5: AES-128-CBC; the initial vector is the sender's address and eight times the access number. Two octets 2F at the
  start prove the key.
* Mode 7: AES-128-CBC with a vector of zeros and a key of one message, derived by CMAC from the meter's key, the message
  counter and the meter's number. The authentication layer carries a CMAC over everything that follows.
* Extended link layer: AES-128-CTR; the counter starts from address, communication control and session number; a CRC
  inside proves the key.

Source: EN 13757-7:2018 clauses 6 and 7; EN 13757-4:2019 clause 13; OMS specification 4.1, volume 2, chapters 8 and 9.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

BLOCK: Final = 16
HOP: Final = 0x10
ENCRYPTION, AUTHENTICATION = 0x00, 0x01
FILLED: Final = bytes((0x2F, 0x2F))
DERIVATION_PADDING: Final = bytes((0x07,)) * 7


def decrypt_cbc(key: bytes, vector: bytes, blocks: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    return decryptor.update(blocks) + decryptor.finalize()


def encrypt_cbc(key: bytes, vector: bytes, blocks: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return encryptor.update(blocks) + encryptor.finalize()


def crypt_ctr(key: bytes, counter: bytes, octets: bytes) -> bytes:
    """Both ways."""
    worker = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return worker.update(octets) + worker.finalize()


def cmac(key: bytes, octets: bytes) -> bytes:
    worker = CMAC(algorithms.AES(key))
    worker.update(octets)
    return worker.finalize()


def mode5_vector(address: bytes, access: int) -> bytes:
    """`address`: M (2), number (4), version, type, as a radio frame has them."""
    return address + bytes((access,)) * 8


def session_counter(address: bytes, control: int, session: bytes) -> bytes:
    """Address, communication control, session number; frame and block number start at 0. The hop bit is left out: a repeater
    sets it without ciphering anew."""
    return address + bytes((control & ~HOP,)) + session + bytes(3)


def message_key(key: bytes, purpose: int, counter: bytes, number: bytes) -> bytes:
    """The key of one message. `counter` and `number` (of the meter) are four octets each, lowest first."""
    return cmac(key, bytes((purpose,)) + counter + number + DERIVATION_PADDING)
