"""What may come in the place of a meter or a concentrator: the choices of the handover page."""

from __future__ import annotations

from sqlalchemy import Connection, select

from gridtally_cloud.customers.tables import account
from gridtally_cloud.store.tables import dcu, meter

SHOWN = 200


def other_edges(conn: Connection, serving: str) -> tuple[str, ...]:
    """Concentrators an account may go to."""
    query = select(dcu.c.dcu).where(dcu.c.dcu != serving, dcu.c.state != "retired").order_by(dcu.c.dcu).limit(SHOWN)
    return tuple(conn.execute(query).scalars())


def free_meters(conn: Connection, serving: str) -> tuple[str, ...]:
    """Serials of meters behind the same concentrator that serve nobody."""
    taken = select(account.c.meter_no).where(account.c.closed_ms.is_(None))
    mine = (meter.c.dcu == serving, meter.c.removed_ms.is_(None), meter.c.commodity == "electricity", meter.c.meter_no.not_in(taken))
    return tuple(conn.execute(select(meter.c.serial).where(*mine).order_by(meter.c.serial).limit(SHOWN)).scalars())
