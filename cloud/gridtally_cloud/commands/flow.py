"""The flow of gas is switched on and off, never limited: a half-open valve lets flames go out (ETSI-F4b)."""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.store.tables import meter
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import limit_of
from gridtally_shared.lifecycle import Reason
from gridtally_shared.meter_settings import Setting, SettingKind

GAS = "gas"


def check_may_limit(conn: Connection, meter_no: int | None) -> None:
    """Raises RefusedCommand (no_flow_limit) for a gas meter."""
    if conn.execute(select(meter.c.commodity).where(meter.c.meter_no == meter_no)).scalar_one_or_none() == GAS:
        raise RefusedCommand(Reason.NO_FLOW_LIMIT, f"meter {meter_no} is a gas meter: its flow is not limited, only disabled and enabled")


def limits_flow(kind: CommandType, settings: tuple[Setting, ...], detail: bytes | None = None) -> bool:
    """Whether a command sets a limit."""
    if kind is CommandType.LIMIT and detail is not None:
        return limit_of(detail).limit_w > 0
    return kind is CommandType.WRITE_SETTINGS and any(setting.kind == SettingKind.LOAD_LIMIT for setting in settings)
