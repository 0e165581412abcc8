"""The registry: meters on the lines of this concentrator, as people and the scan enter them. Small and human-readable.

* TinyDB on a storage class that writes a temporary file, syncs it and renames it: a power cut leaves the old file or the
  new one, never half of one. Nothing that grows lives here, since TinyDB rewrites the whole file at each change.
* A meter is named by its line and address (`key`); which number the cloud gave it is in the signed configuration,
  bound by the serial.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from tinydb import Storage, TinyDB, where

from gridtally_edge.transports.places import Place, driver_part, place_of
from gridtally_shared.errors import ConfigError
from gridtally_shared.records import dataclass


@dataclass(frozen=True)
class MeterEntry:
    """`settings` are the driver's own (address, password ...), as plain values; `serial` may be empty until it answered.
    `plan` overrides single values of polling/plans.PollPlan; `phases` what the socket needs (0: anything); `rollover_wh` and
    `max_power_w` what its registers can do (0: unknown); `switch` the words of a switch beside it (switches/fitted.py). Where it is and
    what it is called is worked out once."""

    line: str
    driver: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    serial: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    phases: int = 0
    rollover_wh: int = 0
    max_power_w: int = 0
    switch: str = ""

    @cached_property
    def place(self) -> Place:
        """Where it is on a line whose meters have addresses. Raises ConfigError."""
        return place_of(self.settings)

    @property
    def driver_settings(self) -> dict[str, Any]:
        """`settings` without its place: what the driver understands."""
        return driver_part(self.settings)

    @cached_property
    def address(self) -> str:
        """What names it on its line: node or host and port, else the protocol's own address, else the serial."""
        place = str(self.place)
        if place:
            return place
        for name in ("physical_address", "address", "unit", "meter"):
            if name in self.settings:
                return str(self.settings[name]) + (f".{self.settings['channel']}" if "channel" in self.settings else "")
        if "channel" in self.settings:
            return f"channel.{self.settings['channel']}"
        return self.serial

    @cached_property
    def key(self) -> str:
        return f"{self.line}/{self.address}"


@dataclass(frozen=True, slots=True)
class MeterChange:
    """A meter that came or went, as a person entered it: "add", "remove" or "replace" (one row: the old one goes, the new one
    comes). `serial` is the one that came, `old_serial` the one that went; `opening` and `closing` are their registers as
    (quantity, value), empty where nobody read them off."""

    change_id: str
    action: str
    key: str
    at_ms: int
    serial: str = ""
    old_serial: str = ""
    opening: tuple[tuple[str, int], ...] = ()
    closing: tuple[tuple[str, int], ...] = ()


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
        names = {f.name for f in fields(MeterEntry)}
        return tuple(MeterEntry(**{k: v for k, v in row.items() if k in names}) for row in rows)

    def add_meter(self, meter: MeterEntry) -> None:
        """Add a meter, or replace the one with the same line and address."""
        table = self._db.table("meters")
        row = {"key": meter.key, **asdict(meter)}
        table.upsert(row, where("key") == meter.key)

    def remove_meter(self, key: str) -> bool:
        return bool(self._db.table("meters").remove(where("key") == key))

    def allowed_nodes(self, line: str) -> frozenset[str]:
        """Who may be in a line's network: the white list, and whoever a meter is read through."""
        listed = {row["node"] for row in self._db.table("white_list").all() if row["line"] == line}
        return frozenset(listed | {meter.place.node for meter in self.meters() if meter.line == line and meter.place.node})

    def allow_node(self, line: str, node: str) -> None:
        self._db.table("white_list").upsert({"line": line, "node": node}, (where("line") == line) & (where("node") == node))

    def forget_node(self, line: str, node: str) -> bool:
        """False where it was not on the list."""
        return bool(self._db.table("white_list").remove((where("line") == line) & (where("node") == node)))

    def changes(self) -> tuple[MeterChange, ...]:
        """In the order in which they were entered."""
        rows = self._db.table("changes").all()
        return tuple(MeterChange(**{**row, "opening": _pairs(row["opening"]), "closing": _pairs(row["closing"])}) for row in rows)

    def note_change(self, change: MeterChange) -> None:
        self._db.table("changes").insert(asdict(change))


def _pairs(rows: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((name, value) for name, value in rows)
