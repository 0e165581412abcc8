"""The inventory of concentrators as the staff sees it: expected, enrolled and refused boxes. No secrets are read."""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.provisioning.tables import inventory, refused_box
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class BoxRow:
    """`state` is that of the inventory, or 'refused' for a box that asked and was sent away, with the reason."""

    serial: str
    dcu: str
    state: str
    reason: str
    at_ms: int
    count: int


def boxes(conn: Connection) -> tuple[BoxRow, ...]:
    """Refused boxes first, the last one on top; then the inventory by name."""
    i, r = inventory.c, refused_box.c
    refused = tuple(
        BoxRow(row.serial, "", "refused", row.reason, row.last_ms, row[4])
        for row in conn.execute(select(r.serial, r.reason, r.first_ms, r.last_ms, r.count).order_by(r.last_ms.desc()).limit(100))
    )
    known = conn.execute(select(i.serial, i.dcu, i.state, i.added_ms).order_by(i.dcu))
    return refused + tuple(BoxRow(row.serial, row.dcu, row.state, "", row.added_ms, 0) for row in known)
