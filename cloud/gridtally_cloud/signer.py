"""The MDM's command key: an Ed25519 seed in a file of its own, made at the first start.

Everything that signs takes the `Signer` port of gridtally_shared.signing, so that the key can move to another process
or to a PKCS#11 token; this is the form of one box (reliability-security.md section 5).
"""

from __future__ import annotations

import os
from pathlib import Path

from gridtally_shared.errors import ConfigError
from gridtally_shared.signing import KeySigner

SEED_BYTES = 32


def open_signer(path: Path) -> KeySigner:
    """The key of the file; a new one, readable by its owner only, where there is none. Raises ConfigError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return KeySigner.from_seed(_seed(path))
    except OSError as error:
        raise ConfigError("signer.key_file", str(path), f"can not be made ({error.strerror}); name a writable folder") from None
    with os.fdopen(handle, "wb") as file:
        file.write(os.urandom(SEED_BYTES))
        file.flush()
        os.fsync(file.fileno())
    return KeySigner.from_seed(_seed(path))


def _seed(path: Path) -> bytes:
    try:
        seed = path.read_bytes()
    except OSError as error:
        raise ConfigError("signer.key_file", str(path), f"can not be read ({error.strerror})") from None
    if len(seed) != SEED_BYTES:
        raise ConfigError("signer.key_file", str(path), f"holds {len(seed)} bytes, not {SEED_BYTES}: restore it from the backup")
    return seed
