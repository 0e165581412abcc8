"""Tariff versions as stored: added, never changed; each is in force from its `from_ms` until the next one."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Connection, func, insert, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.customers.tables import tariff_version
from gridtally_cloud.store.db import in_turn
from gridtally_shared.contract.messages import TariffDocument
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.tariff.quote import Quote, quote
from gridtally_shared.tariff.taking import Fault, out_of_order, plan_with, too_soon


class TariffReason(StrEnum):
    UNKNOWN_TARIFF = "unknown_tariff"
    TARIFF_IN_THE_PAST = "tariff_in_the_past"
    SHORT_NOTICE = "short_notice"


def add_tariff(conn: Connection, tariff_id: str, from_ms: int, document: str, at_ms: int, actor: str) -> TariffDocument:
    """Add the next version, by the rules every concentrator checks too. Raises ConfigError, with the path and what to write, for a
    document that is not understood or does not fit the versions before it; RefusedCommand (tariff_in_the_past, short_notice) when it
    begins too soon. The first version of a tariff may begin in the past."""
    t = tariff_version.c
    in_turn(conn, f"tariff {tariff_id}")
    newest = conn.execute(select(func.max(t.version)).where(t.tariff_id == tariff_id)).scalar_one()
    tariff = TariffDocument(tariff_id, (newest or 0) + 1, from_ms, document, at_ms)
    known = versions_of(conn, tariff_id) if newest is not None else ()
    early = (out_of_order(known, tariff) or too_soon(known, tariff)) if known else None
    if early is not None:
        short = early.fault is Fault.SHORT_NOTICE
        raise RefusedCommand(TariffReason.SHORT_NOTICE if short else TariffReason.TARIFF_IN_THE_PAST,
                             f"tariff {tariff_id}, version {tariff.version}: {early.text}; let it begin later")  # fmt: skip
    plan_with(known, tariff)
    conn.execute(insert(tariff_version).values(tariff_id=tariff_id, version=tariff.version, from_ms=from_ms, document=document,
                                               created_ms=at_ms))  # fmt: skip
    record(conn, at_ms, actor, "tariff.added", f"tariff:{tariff_id}", f"version {tariff.version}")
    return tariff


def versions_of(conn: Connection, tariff_id: str) -> tuple[TariffDocument, ...]:
    """All versions, oldest first. Raises RefusedCommand (unknown_tariff)."""
    query = select(tariff_version).where(tariff_version.c.tariff_id == tariff_id).order_by(tariff_version.c.version)
    rows = tuple(TariffDocument(r.tariff_id, r.version, r.from_ms, r.document, r.created_ms) for r in conn.execute(query))
    if not rows:
        raise RefusedCommand(TariffReason.UNKNOWN_TARIFF, f"there is no tariff {tariff_id!r}")
    return rows


def tariff_at(versions: tuple[TariffDocument, ...], at_ms: int, zone: str = "UTC") -> Quote:
    """Name and prices of a tariff at an instant, for an account that begins then; before the first version, the first."""
    return quote(versions, at_ms, zone)
