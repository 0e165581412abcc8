"""Tariff versions as stored: added, never changed; each is in force from its `from_ms` until the next one."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, func, insert, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.tables import tariff_version
from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.tariff.model import Tariff, tariff_from


class TariffReason(StrEnum):
    UNKNOWN_TARIFF = "unknown_tariff"
    TARIFF_IN_THE_PAST = "tariff_in_the_past"


def add_tariff(conn: Connection, tariff_id: str, from_ms: int, document: str, at_ms: int, actor: str) -> Tariff:
    """Add the next version. Raises ContractError for a document that says nothing sensible, RefusedCommand when it would
    begin before the version it follows."""
    t = tariff_version.c
    newest = conn.execute(select(func.max(t.version), func.max(t.from_ms)).where(t.tariff_id == tariff_id)).one()
    tariff = tariff_from(tariff_id, (newest[0] or 0) + 1, document)
    if newest[1] is not None and from_ms <= newest[1]:
        raise RefusedCommand(TariffReason.TARIFF_IN_THE_PAST, f"tariff {tariff_id}: version {newest[0]} begins later or at once")
    conn.execute(insert(tariff_version).values(tariff_id=tariff_id, version=tariff.version, from_ms=from_ms, document=document,
                                               created_ms=at_ms))  # fmt: skip
    record(conn, at_ms, actor, "tariff.added", f"tariff:{tariff_id}", f"version {tariff.version}")
    return tariff


def versions_of(conn: Connection, tariff_id: str) -> tuple[TariffDocument, ...]:
    """All versions, oldest first. Raises RefusedCommand (unknown_tariff)."""
    query = select(tariff_version).where(tariff_version.c.tariff_id == tariff_id).order_by(tariff_version.c.version)
    rows = tuple(TariffDocument(r.tariff_id, r.version, r.from_ms, r.document) for r in conn.execute(query))
    if not rows:
        raise RefusedCommand(TariffReason.UNKNOWN_TARIFF, f"there is no tariff {tariff_id!r}")
    return rows


def tariff_at(versions: tuple[TariffDocument, ...], at_ms: int) -> Tariff:
    """The version in force; before the first one, the first."""
    begun = [v for v in versions if v.from_ms <= at_ms] or [versions[0]]
    return tariff_from(begun[-1].tariff_id, begun[-1].version, begun[-1].document)
