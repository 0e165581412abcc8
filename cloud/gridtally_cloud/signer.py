"""The MDM's secrets as files of their own, made at the first start and readable by their owner only.

The command key is an Ed25519 seed. Everything that signs takes the `Signer` port of gridtally_shared.signing, so that the
key can move to another process or to a PKCS#11 token; this is the form of one box (reliability-security.md section 5).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gridtally_shared.errors import ConfigError
from gridtally_shared.signing import KeySigner

SECRET_BYTES = 32


def open_signer(path: Path) -> KeySigner:
    """The command key; a new one where the file is not there. Raises ConfigError."""
    return KeySigner.from_seed(secret_file(path))


def secret_file(path: Path) -> bytes:
    """The 32 random bytes of the file, made now if it is not there. Raises ConfigError."""
    with contextlib.suppress(FileExistsError):
        _make(path)
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise ConfigError("data_dir", str(path), f"can not be read ({error.strerror})") from None
    if len(secret) != SECRET_BYTES:
        raise ConfigError("data_dir", str(path), f"holds {len(secret)} bytes, not {SECRET_BYTES}: restore it from the backup")
    return secret


def _make(path: Path) -> None:
    """Write the whole file under another name first: a process killed here leaves no half key."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError as error:
        raise ConfigError("data_dir", str(path), f"can not be made ({error.strerror}); name a writable folder") from None
    finally:
        draft.unlink(missing_ok=True)
