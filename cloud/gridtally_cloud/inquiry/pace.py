"""How fast inquiries go to the meters: those above the rate wait in the order they were asked, and none is lost.

* The rate is a number a minute for all retailers together, kept in the store and set by `gridtally-mdm retailer rate`. It holds over each
  minute, and its sixth part, rounded up, over each ten seconds, so that a burst does not go out in one.
* An inquiry that waits is a row in state `queued`; what was released is told from the commands themselves, so a restart changes nothing.
* It counts for the day's limit while it waits. A release that the command service refuses gives the inquiry up, with the reason.

Source: seed 003, 1.5 (throttle of bandwidth); SMT-R3.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from gridtally_cloud.customers.audit import record
from gridtally_cloud.inquiry.requests import KIND_COMMANDS, DataRequest, State, advance, cause_of, issue_for, request_from
from gridtally_cloud.inquiry.tables import data_request
from gridtally_cloud.store.db import in_turn, upsert
from gridtally_cloud.store.tables import command, store_meta
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.signing import Signer

PER_MINUTE = 600
NAME = "inquiries_per_minute"
WINDOWS = ((60_000, 1), (10_000, 6))
"""(ms, which part of the rate)."""


def per_minute(conn: Connection) -> int:
    value = conn.execute(select(store_meta.c.value).where(store_meta.c.name == NAME)).scalar_one_or_none()
    return PER_MINUTE if value is None else int(bytes(value))


def set_per_minute(conn: Connection, rate: int, by: str, now_ms: int) -> None:
    upsert(conn, store_meta, {"name": NAME, "value": str(rate).encode()})
    record(conn, now_ms, by, "inquiry.rate", "inquiries", f"{rate} a minute")


def room(conn: Connection, now_ms: int) -> int:
    """How many more may go now."""
    rate = per_minute(conn)
    return max(0, min(-(-rate // part) - _released(conn, now_ms - span_ms) for span_ms, part in WINDOWS))


def may_go(conn: Connection, now_ms: int) -> bool:
    """Whether an inquiry may go at once: there is room, and nobody waits. One transaction at a time asks this."""
    in_turn(conn, "inquiries")
    return queued(conn) == 0 and room(conn, now_ms) > 0


def queued(conn: Connection) -> int:
    waits = data_request.c.state == State.QUEUED.value
    return int(conn.execute(select(func.count()).select_from(data_request).where(waits)).scalar_one())


def _released(conn: Connection, since_ms: int) -> int:
    """Commands of inquiries after an instant: a command's id begins with its time, so this reads the end of its key only."""
    c, causes = command.c, [cause_of(kind) for kind in KIND_COMMANDS]
    mine = (c.cmd_id > (since_ms + 1).to_bytes(6, "big"), c.cause.in_(causes))
    return int(conn.execute(select(func.count()).select_from(command).where(*mine)).scalar_one())


def release(conn: Connection, signer: Signer, now_ms: int) -> tuple[DataRequest, ...]:
    """Send what waits as far as there is room, the oldest first. Those that moved."""
    in_turn(conn, "inquiries")
    r = data_request.c
    waiting = select(data_request).where(r.state == State.QUEUED.value).order_by(r.request_no).limit(room(conn, now_ms))
    return tuple(_sent(conn, signer, request_from(row), now_ms) for row in conn.execute(waiting).all())


def _sent(conn: Connection, signer: Signer, request: DataRequest, now_ms: int) -> DataRequest:
    try:
        return issue_for(conn, signer, request, now_ms)
    except RefusedCommand as refused:
        return advance(conn, request, State.GAVE_UP, now_ms, refused.detail)
