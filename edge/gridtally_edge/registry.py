"""The registry: meters on the lines of this concentrator, as people and the scan enter them. Small and human-readable.

* TinyDB on a storage class that writes a temporary file, syncs it and renames it: a power cut leaves the old file or the
  new one, never half of one. Nothing that grows lives here, since TinyDB rewrites the whole file at each change.
* A meter is named by its line and address (`key`); which number the cloud gave it is in the signed configuration,
  bound by the serial.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinydb import Storage, TinyDB, where

from gridtally_shared.errors import ConfigError


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """`settings` are the driver's own (address, password ...), as plain values; `serial` may be empty until it answered."""

    line: str
    driver: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    serial: str = ""

    @property
    def address(self) -> str:
        for name in ("physical_address", "address", "unit"):
            if name in self.settings:
                return str(self.settings[name])
        return self.serial

    @property
    def key(self) -> str:
        return f"{self.line}/{self.address}"


class AtomicJson(Storage):
    """TinyDB storage: read the whole file, replace the whole file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, dict[str, Any]] | None:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            data: dict[str, dict[str, Any]] = json.loads(text)
        except ValueError as error:
            raise ConfigError("registry", str(self._path), f"this is not JSON ({error}); correct it or restore a copy") from None
        return data

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        write_atomically(self._path, json.dumps(data, indent=1, sort_keys=True).encode())


def write_atomically(path: Path, content: bytes, durable: bool = True, mode: int = 0o600) -> None:
    """Replace a file by way of a temporary one beside it; `durable` syncs file and folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(content)
        if durable:
            out.flush()
            os.fsync(out.fileno())
    os.replace(temporary, path)
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Registry:
    """Opened for a moment, read or changed, closed again."""

    def __init__(self, path: Path) -> None:
        self._db = TinyDB(path, storage=AtomicJson)

    def meters(self) -> tuple[MeterEntry, ...]:
        rows = self._db.table("meters").all()
        return tuple(MeterEntry(r["line"], r["driver"], r["settings"], r.get("serial", "")) for r in rows)

    def add_meter(self, meter: MeterEntry) -> None:
        """Add a meter, or replace the one with the same line and address."""
        table = self._db.table("meters")
        row = {"key": meter.key, **asdict(meter)}
        table.upsert(row, where("key") == meter.key)

    def remove_meter(self, key: str) -> bool:
        return bool(self._db.table("meters").remove(where("key") == key))

    def lines(self) -> tuple[Mapping[str, Any], ...]:
        """Lines entered locally, as plain values of config.LINE_SETTINGS."""
        return tuple(dict(row) for row in self._db.table("lines").all())

    def add_line(self, values: Mapping[str, Any]) -> None:
        self._db.table("lines").upsert(dict(values), where("name") == values["name"])
