"""Which meter hangs where: the nodes of each DCU's networks now, and every place a meter ever had.

* The edge reports a node whenever its state or place changes (NodeReport) and a meter that answers on a line (MeterSeen).
* A place is (dcu, line, address, parent). A report that is older than what is known changes nothing; the same place again
  is no new row.
* A meter seen behind another DCU ends its place at the first one: the new parent reports it (BYPL-11.1, 11.2).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.meters.tables import node, place
from gridtally_cloud.store.db import upsert
from gridtally_shared.contract.messages import MeterSeen, NodeReport, NodeState
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """A node as last reported. `serial` is the meter behind it, "" while nobody has read it."""

    node: str
    dcu: str
    line: str
    state: NodeState
    address: str
    parent: str
    hops: int
    quality: int
    serial: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a meter was from `from_ms` on; `to_ms` None: it is there now."""

    serial: str
    node: str
    dcu: str
    line: str
    address: str
    parent: str
    hops: int
    from_ms: int
    to_ms: int | None


def take_node(arrival: Arrival, report: NodeReport) -> None:
    """Raises ContractError for a state that does not exist."""
    if report.state not in NodeState.__members__.values():
        raise ContractError(f"node {report.node} reports the unknown state {report.state}")
    known = arrival.conn.execute(select(node.c.at_ms, node.c.serial).where(node.c.node == report.node)).first()
    if known is not None and known.at_ms > report.at_ms:
        return
    serial = report.serial or (known.serial if known else "")
    row = {"node": report.node, "dcu": arrival.dcu, "line": report.line, "state": report.state, "address": report.address,
           "parent": report.parent, "hops": report.hops, "quality": report.quality, "serial": serial,
           "at_ms": report.at_ms}  # fmt: skip
    upsert(arrival.conn, node, row)
    if not serial:
        return
    if report.state == NodeState.LEFT:
        _end(arrival.conn, serial, arrival.dcu, report.at_ms)
    else:
        kept = ("dcu", "line", "address", "parent", "hops", "node")
        _move(arrival.conn, serial, {name: row[name] for name in kept}, report.at_ms)


def take_seen(arrival: Arrival, seen: MeterSeen) -> None:
    """A meter that answers on a line has that place; where a node report tells more, the report stays."""
    now = _present(arrival.conn, seen.serial)
    if now is not None and (now.dcu, now.line) == (arrival.dcu, seen.line) and now.node:
        return
    where = {"dcu": arrival.dcu, "line": seen.line, "address": seen.address, "parent": "", "hops": 0, "node": ""}
    _move(arrival.conn, seen.serial, where, seen.at_ms)


def _move(conn: Connection, serial: str, where: dict[str, Any], at_ms: int) -> None:
    now = _present(conn, serial)
    if now is not None and now.from_ms > at_ms:
        return
    same = ("dcu", "line", "address", "parent")
    if now is not None and all(getattr(now, name) == where[name] for name in same):
        return
    conn.execute(update(place).where(and_(place.c.serial == serial, place.c.to_ms.is_(None))).values(to_ms=at_ms))
    conn.execute(insert(place).values(where | {"serial": serial, "from_ms": at_ms}))


def _end(conn: Connection, serial: str, dcu: str, at_ms: int) -> None:
    """A node that left ends only the place it had there: the meter may be behind another DCU already."""
    where = and_(place.c.serial == serial, place.c.dcu == dcu, place.c.to_ms.is_(None))
    conn.execute(update(place).where(where).values(to_ms=at_ms))


def _present(conn: Connection, serial: str) -> Place | None:
    row = conn.execute(select(place).where(place.c.serial == serial, place.c.to_ms.is_(None))).first()
    return _place(row) if row else None


def _place(row: Any) -> Place:
    return Place(row.serial, row.node, row.dcu, row.line, row.address, row.parent, row.hops, row.from_ms, row.to_ms)


def history(conn: Connection, serial: str) -> tuple[Place, ...]:
    """Every place of a meter, newest first."""
    rows = conn.execute(select(place).where(place.c.serial == serial).order_by(place.c.place_no.desc()))
    return tuple(_place(row) for row in rows)


def present(conn: Connection, dcu: str = "", after: str = "", limit: int = 100) -> tuple[Place, ...]:
    """Where all meters (of one DCU) are now, by serial."""
    query = select(place).where(place.c.to_ms.is_(None), place.c.serial > after)
    query = query.where(place.c.dcu == dcu) if dcu else query
    return tuple(_place(row) for row in conn.execute(query.order_by(place.c.serial).limit(limit)))


def nodes(conn: Connection, dcu: str) -> tuple[Node, ...]:
    """The nodes of a DCU's networks, nearest first."""
    rows = conn.execute(select(node).where(node.c.dcu == dcu).order_by(node.c.line, node.c.hops, node.c.node))
    return tuple(Node(r.node, r.dcu, r.line, NodeState(r.state), r.address, r.parent, r.hops, r.quality, r.serial, r.at_ms)
                 for r in rows)  # fmt: skip
