"""What meters say of themselves in receipts: settings as read back, and the name plate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection

from gridtally_cloud.meters.tables import meter_setting, name_plate
from gridtally_cloud.store.db import insert_new, upsert
from gridtally_shared import cbor
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import ContractError
from gridtally_shared.meter_settings import Setting, SettingKind, unpacked

PLATE = ("maker", "model", "firmware", "category", "year")


def settings_in(result: bytes) -> tuple[Setting, ...]:
    """Settings of a receipt, as read back from the meter; an empty body: the meter has no such setting. Raises ContractError."""
    found = cbor.loads(result)
    rows = found.get(0) if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise ContractError("a receipt without settings")
    settings = []
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and type(row[0]) is int and isinstance(row[1], bytes)):
            raise ContractError("a receipt whose settings are not pairs of kind and body")
        setting = Setting(row[0], row[1])
        if setting.body:
            unpacked(setting)
        settings.append(setting)
    return tuple(settings)


def plate_in(result: bytes) -> dict[str, str]:
    """Name plate of a receipt by field. Raises ContractError."""
    found = cbor.loads(result)
    plate = found.get(0) if isinstance(found, dict) else None
    if not isinstance(plate, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in plate.items()):
        raise ContractError("a receipt without a name plate")
    return plate


def _take_settings(conn: Connection, meter_no: int, result: bytes, at_ms: int) -> None:
    for setting in (s for s in settings_in(result) if s.kind != SettingKind.HELD_CREDIT):
        key = {"meter_no": meter_no, "kind": setting.kind}
        insert_new(conn, meter_setting, [key])
        where = (meter_setting.c.meter_no == meter_no, meter_setting.c.kind == setting.kind)
        conn.execute(meter_setting.update().where(*where).values(reported=setting.body, reported_at_ms=at_ms))


def _take_plate(conn: Connection, meter_no: int, result: bytes, at_ms: int) -> None:
    plate = plate_in(result)
    row: dict[str, Any] = {"meter_no": meter_no, "read_at_ms": at_ms} | {name: plate.get(name, "") for name in PLATE}
    upsert(conn, name_plate, row)


TAKERS: dict[CommandType, Callable[[Connection, int, bytes, int], None]] = {
    CommandType.READ_SETTINGS: _take_settings,
    CommandType.WRITE_SETTINGS: _take_settings,
    CommandType.READ_NAME_PLATE: _take_plate,
}


def note(conn: Connection, kind: CommandType, meter_no: int, result: bytes, at_ms: int) -> None:
    """Keep what a receipt tells of the meter. Raises ContractError where it can not be read."""
    if result and kind in TAKERS:
        TAKERS[kind](conn, meter_no, result, at_ms)
