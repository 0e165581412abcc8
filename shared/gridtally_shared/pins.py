"""PINs of the local balance page as salted scrypt hashes: the form of `AccountConfig.pin_hash`.

    scrypt$<n>$<r>$<p>$<salt, hex>$<hash, hex>      over the PIN as UTF-8; hash of 32 bytes

The cloud makes them (`hash_pin`), the page checks them (`pin_matches`). A PIN is short, so the page must count guesses;
the hash only keeps a stolen database from giving it away at once. An empty `pin_hash` opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os

N, R, P = 2**14, 8, 1
LONGEST_PIN = 64


def hash_pin(pin: str, salt: bytes | None = None) -> str:
    """The text to store for a PIN. Raises ValueError for an empty or overlong one."""
    if not 0 < len(pin) <= LONGEST_PIN:
        raise ValueError(f"a PIN has 1 to {LONGEST_PIN} characters")
    chosen = os.urandom(16) if salt is None else salt
    return f"scrypt${N}${R}${P}${chosen.hex()}${_scrypt(pin, chosen, N, R, P).hex()}"


def pin_matches(pin: str, pin_hash: str) -> bool:
    """Whether the PIN is the one behind the hash. False for anything malformed."""
    parts = pin_hash.split("$")
    if len(parts) != 6 or parts[0] != "scrypt" or not 0 < len(pin) <= LONGEST_PIN:
        return False
    try:
        n, r, p = (int(x) for x in parts[1:4])
        salt, expected = bytes.fromhex(parts[4]), bytes.fromhex(parts[5])
        return hmac.compare_digest(_scrypt(pin, salt, n, r, p), expected)
    except ValueError:
        return False


def _scrypt(pin: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(pin.encode(), salt=salt, n=n, r=r, p=p, maxmem=64 * 1024 * 1024, dklen=32)
