"""Who this box is: the files enrolment leaves behind, in two slots so that a power cut never leaves it without a name.

    identity/
      tls.key        P-256 private key, made here, never leaves (mode 0400)
      journal.key    Ed25519 seed that signs journal checkpoints (mode 0400)
      active/        identity.json, tls.crt, ca.crt, command-key.pub
      pending/       the same, written whole, before the first contact under the new name

A slot is written beside and renamed into place; the active one is only replaced after a successful activation.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass

ACTIVE, PENDING = "active", "pending"


@dataclass(frozen=True, slots=True)
class Identity:
    """The content of identity.json. Byte strings are hex."""

    dcu: str
    serial: str
    host: str
    port: int
    transport: str
    command_key: str
    activation_token: str

    @property
    def secured(self) -> bool:
        return self.transport == "mtls"

    @property
    def command_key_bytes(self) -> bytes:
        return bytes.fromhex(self.command_key)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    ca: Path
    certificate: Path
    key: Path


def load(folder: Path, slot: str = ACTIVE) -> Identity | None:
    """The identity in a slot, None when this box has not enrolled. Raises ConfigError when the file is damaged."""
    path = folder / slot / "identity.json"
    if not path.exists():
        return None
    try:
        return Identity(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ConfigError("identity", str(path), "damaged; remove the folder and run `gridtally-dcu enrol` again") from None


def tls_files(folder: Path, slot: str = ACTIVE) -> TlsFiles:
    """Paths of the slot's certificate and CA, and of the key."""
    return TlsFiles(folder / slot / "ca.crt", folder / slot / "tls.crt", folder / "tls.key")


def store_pending(folder: Path, identity: Identity, certificate: bytes, ca_chain: bytes) -> None:
    """Write the pending slot: complete and synced before it gets its name."""
    building = folder / "pending.new"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for name, content in (
        ("identity.json", json.dumps(asdict(identity), indent=1).encode()),
        ("command-key.pub", identity.command_key.encode()),
        ("tls.crt", certificate),
        ("ca.crt", ca_chain),
    ):
        _write_synced(building / name, content)
    shutil.rmtree(folder / PENDING, ignore_errors=True)
    os.replace(building, folder / PENDING)
    sync_folder(folder)


def promote(folder: Path) -> None:
    """The pending slot becomes the active one; the old active one is kept as `previous` until the next enrolment."""
    shutil.rmtree(folder / "previous", ignore_errors=True)
    if (folder / ACTIVE).exists():
        os.replace(folder / ACTIVE, folder / "previous")
    os.replace(folder / PENDING, folder / ACTIVE)
    sync_folder(folder)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
