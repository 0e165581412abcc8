"""What is marked untrustworthy, and no longer, is told to everyone who was given it, and to other systems.

* A recipient gets a notice of its own at every address, beside its files: meter, usage point, period and what is the matter. Retailers and
  holders of tokens are named in the notice `measurement.doubted`, which goes to the systems that listen.
* A mark on a billed period is told when the second person has approved it: before that it does not stand.

Source: I2-S6.11.4 (I2-S1.11.3), I2-IE13.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, or_, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.exchange import given
from gridtally_cloud.exchange.deliveries import FileKind, queue
from gridtally_cloud.exchange.given import Given
from gridtally_cloud.exchange.recipients import find
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.tables import channel, meter
from gridtally_cloud.vee.edits import Edit, EditState
from gridtally_cloud.vee.tools import Tool

TELLS = {EditState.APPLIED: "doubted", EditState.UNDONE: "withdrawn"}
"""What is told of a mark in a state; in the others it does not stand yet, or still does."""


def tell(conn: Connection, edit: Edit, before: EditState | None, now_ms: int) -> tuple[Given, ...]:
    """Whom it was told to; nobody for another tool, or where the mark stood before as it does now."""
    word = TELLS.get(edit.state)
    if edit.tool is not Tool.UNTRUST or word is None or (before is EditState.LEAVING and edit.state is EditState.APPLIED):
        return ()
    where = conn.execute(select(channel.c.usage_point_no, channel.c.quantity).where(channel.c.channel_no == edit.channel_no)).one()
    meters = _meters(conn, where.usage_point_no, edit)
    said = _said(edit, word, where, ", ".join(row.serial for row in meters))
    takers = given.takers(conn, where.usage_point_no, edit.from_ms, edit.to_ms)
    for taker in takers:
        if taker.kind is given.Kind.RECIPIENT and find(conn, taker.name).ended_ms is None:
            queue(conn, taker.name, {f"data_issue_{edit.edit_no}_{word}.json": _body(said)}, now_ms, FileKind.NOTICE)
    named = " ".join(taker.taker for taker in takers)
    announce(conn, Topic.MEASUREMENT_DOUBTED, f"{edit.edit_no}/{word}", now_ms,
             f"/meters/{meters[0].meter_no if meters else 0}/intervals", said | {"given_to": named})  # fmt: skip
    record(conn, now_ms, edit.decided_by or edit.made_by, f"vee.{word}", f"channel:{edit.channel_no}",
           f"edit {edit.edit_no}, told to {named or 'nobody: nobody was given it'}")  # fmt: skip
    return takers


def _meters(conn: Connection, usage_point_no: int, edit: Edit) -> list[Any]:
    """Those that hung there in the period."""
    m = meter.c
    hung = (m.usage_point_no == usage_point_no, m.installed_ms < edit.to_ms, or_(m.removed_ms.is_(None), m.removed_ms > edit.from_ms))
    return [*conn.execute(select(m.meter_no, m.serial).where(*hung).order_by(m.installed_ms))]


def _said(edit: Edit, word: str, where: Any, serials: str) -> dict[str, str | int]:
    return {"issue": "untrustworthy", "state": word, "meter": serials, "usage_point_no": where.usage_point_no, "quantity": where.quantity,
            "from": utc_text(edit.from_ms), "to": utc_text(edit.to_ms), "reason": edit.reason, "note": edit.note, "ticket": edit.ticket,
            "edit_no": edit.edit_no, "bills": " ".join(edit.bills)}  # fmt: skip


def _body(said: dict[str, str | int]) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode()
