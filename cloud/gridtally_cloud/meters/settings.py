"""Settings of meters: wanted, on their way, read back; for one meter or as a campaign for many.

* A setting's state is never stored: it follows from its command's state and from what was read back (BYPL-8.3).
  queued, sent, verified (read back as wanted, its day still to come), active, failed.
* What was wanted stays beside what the meter has, so a setting somebody changed on site shows as `differs`.

Source: BYPL 8, ETSI TR 102 935 5.2.4 (configure), mdm.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum

from sqlalchemy import Connection, select

from gridtally_cloud.commands import service
from gridtally_cloud.commands.model import CommandRequest, Issued
from gridtally_cloud.meters.tables import meter_setting
from gridtally_cloud.store.db import upsert
from gridtally_cloud.store.tables import command
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.meter_settings import ActivityCalendar, AnySetting, Setting, SettingKind, packed, unpacked
from gridtally_shared.meter_settings_rules import faults_of
from gridtally_shared.records import dataclass
from gridtally_shared.signing import Signer

S = CommandState
MOST_METERS = 10_000


class SettingState(Enum):
    UNKNOWN = "unknown"
    QUEUED = "queued"
    SENT = "sent"
    VERIFIED = "verified"
    ACTIVE = "active"
    FAILED = "failed"
    DIFFERS = "differs"


_ON_ITS_WAY: dict[CommandState, SettingState] = {
    S.ACCEPTED: SettingState.QUEUED,
    S.SCHEDULED: SettingState.QUEUED,
    S.QUARANTINED: SettingState.QUEUED,
    S.QUEUED: SettingState.QUEUED,
    S.DELIVERED: SettingState.SENT,
    S.EXECUTING: SettingState.SENT,
    S.REFUSED: SettingState.FAILED,
    S.FAILED: SettingState.FAILED,
    S.EXPIRED: SettingState.FAILED,
    S.CANCELLED: SettingState.FAILED,
}


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting of one meter: what is wanted, what it has, how far the wish is. `reason` says why it failed."""

    meter_no: int
    kind: SettingKind
    state: SettingState
    wanted: AnySetting | None
    reported: AnySetting | None
    wanted_at_ms: int | None
    reported_at_ms: int | None
    cmd_id: bytes | None
    reason: str


def order(
    conn: Connection, signer: Signer, meter_no: int, wanted: tuple[AnySetting, ...], by: str, now_ms: int,
    key: str | None = None, campaign: str = "", cause: str = "settings",
) -> Issued:  # fmt: skip
    """Order settings for a meter. Raises RefusedCommand naming the field of a setting that makes no sense."""
    faults = [f"{type(s).__name__}: {fault}" for s in wanted for fault in faults_of(s)]
    if faults or not wanted:
        raise RefusedCommand(Reason.MALFORMED, faults[0] if faults else "name at least one setting")
    settings = tuple(packed(s) for s in wanted)
    request = CommandRequest(meter_no, CommandType.WRITE_SETTINGS, by, cause, key, settings=settings)
    issued = service.issue(conn, signer, request, now_ms)
    if not issued.repeated:
        for setting in settings:
            _want(conn, meter_no, setting, issued.cmd_id, campaign, now_ms)
    return issued


def _want(conn: Connection, meter_no: int, setting: Setting, cmd_id: bytes, campaign: str, now_ms: int) -> None:
    row = {"meter_no": meter_no, "kind": setting.kind, "wanted": setting.body, "wanted_at_ms": now_ms, "cmd_id": cmd_id,
           "campaign": campaign or None}  # fmt: skip
    upsert(conn, meter_setting, row)


def campaign(
    conn: Connection, signer: Signer, name: str, meters: tuple[int, ...], wanted: tuple[AnySetting, ...], by: str, now_ms: int
) -> dict[int, str]:
    """The same settings for many meters; meter number to why it was not ordered. The same name again orders nobody twice."""
    if not 1 <= len(name) <= 60 or not 1 <= len(meters) <= MOST_METERS:
        raise RefusedCommand(Reason.MALFORMED, f"a campaign has a name of 1 to 60 characters and 1 to {MOST_METERS:,} meters")
    refused: dict[int, str] = {}
    for meter_no in dict.fromkeys(meters):
        try:
            order(conn, signer, meter_no, wanted, by, now_ms, f"campaign:{name}:{meter_no}", name, f"campaign {name}")
        except RefusedCommand as error:
            if error.reason == Reason.MALFORMED:
                raise
            refused[meter_no] = error.detail or error.reason
    return refused


def of_meter(conn: Connection, meter_no: int, now_ms: int) -> tuple[SettingView, ...]:
    return _views(conn, meter_setting.c.meter_no == meter_no, now_ms)


def of_campaign(conn: Connection, name: str, now_ms: int) -> tuple[SettingView, ...]:
    return _views(conn, meter_setting.c.campaign == name, now_ms)


def counts(views: tuple[SettingView, ...]) -> Mapping[SettingState, int]:
    """How many settings are in which state, every state named."""
    found = Counter(v.state for v in views)
    return {state: found[state] for state in SettingState}


def _views(conn: Connection, where: object, now_ms: int) -> tuple[SettingView, ...]:
    joined = meter_setting.outerjoin(command, command.c.cmd_id == meter_setting.c.cmd_id)
    columns = (*meter_setting.c, command.c.state, command.c.reason, command.c.state_at_ms)
    query = select(*columns).select_from(joined).where(where)  # type: ignore[arg-type]
    rows = conn.execute(query.order_by(meter_setting.c.meter_no, meter_setting.c.kind))
    views = []
    for r in rows:
        wanted, reported = _record(r.kind, r.wanted), _record(r.kind, r.reported)
        sent = S(r.state) if r.state is not None else None
        state = state_of(sent, r.state_at_ms or 0, wanted, reported, r.reported_at_ms or 0, now_ms)
        views.append(SettingView(r.meter_no, SettingKind(r.kind), state, wanted, reported, r.wanted_at_ms, r.reported_at_ms,
                                 bytes(r.cmd_id) if r.cmd_id else None, r.reason or ""))  # fmt: skip
    return tuple(views)


def _record(kind: int, body: bytes | None) -> AnySetting | None:
    return unpacked(Setting(kind, bytes(body))) if body else None


def state_of(
    sent: CommandState | None, ended_ms: int, wanted: AnySetting | None, reported: AnySetting | None, reported_ms: int, now_ms: int
) -> SettingState:
    """Where a setting stands. Only what was read back counts: a command that is done without it is no proof."""
    if wanted is None or sent is None:
        return SettingState.UNKNOWN if reported is None else SettingState.ACTIVE
    if sent in _ON_ITS_WAY:
        return _ON_ITS_WAY[sent]
    if reported != wanted:
        return SettingState.DIFFERS if reported_ms > ended_ms else SettingState.FAILED
    later = isinstance(wanted, ActivityCalendar) and wanted.activate_at_ms > now_ms
    return SettingState.VERIFIED if later else SettingState.ACTIVE
