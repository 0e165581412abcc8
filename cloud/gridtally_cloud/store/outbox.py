"""The way down as a table: what was signed in a service's transaction, waiting to be published and answered.

* A row is put in the same transaction as the command, instrument or configuration it carries; nothing relies on the
  broker's memory.
* `ref` names the thing: `cmd_id` as hex, `account/epoch/gseq`, or a configuration's version. The same one is put once.
* A row is claimed by lease (owner, until) and sent again until it is `done`: the command has a receipt, the mirror
  shows the instrument, the edge says it holds the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from gridtally_cloud.store.tables import outbox_down


@dataclass(frozen=True, slots=True)
class Due:
    """One message to publish now."""

    outbox_no: int
    dcu: str
    channel: str
    ref: str
    payload: bytes
    attempts: int
    priority: int


def instrument_ref(account_no: int, epoch: int, gseq: int) -> str:
    return f"{account_no}/{epoch}/{gseq}"


def put(conn: Connection, dcu: str, channel: str, ref: str, payload: bytes, now_ms: int, priority: int = 50) -> None:
    """Queue an envelope for `down/<channel>` of a DCU. It goes out at once."""
    row = {"dcu": dcu, "channel": channel, "ref": ref, "payload": payload, "priority": priority, "created_ms": now_ms,
           "next_send_ms": now_ms}  # fmt: skip
    conn.execute(insert(outbox_down).values(row))


def any_due(conn: Connection, now_ms: int) -> bool:
    """Whether anything waits to be published."""
    o = outbox_down.c
    return conn.execute(select(o.outbox_no).where(o.done_ms.is_(None), o.next_send_ms <= now_ms).limit(1)).first() is not None


def claim(conn: Connection, owner: str, now_ms: int, lease_ms: int, limit: int = 100) -> tuple[Due, ...]:
    """Take the rows that are due, most urgent first, for `lease_ms`."""
    o = outbox_down.c
    free = or_(o.lease_until_ms.is_(None), o.lease_until_ms <= now_ms, o.owner == owner)
    query = select(outbox_down).where(o.done_ms.is_(None), o.next_send_ms <= now_ms, free)
    rows = conn.execute(query.order_by(o.priority, o.outbox_no).limit(limit).with_for_update(skip_locked=True)).all()
    numbers = [row.outbox_no for row in rows]
    if numbers:
        conn.execute(update(outbox_down).where(o.outbox_no.in_(numbers)).values(owner=owner, lease_until_ms=now_ms + lease_ms))
    return tuple(Due(r.outbox_no, r.dcu, r.channel, r.ref, bytes(r.payload), r.attempts, r.priority) for r in rows)


def sent(conn: Connection, owner: str, outbox_no: int, now_ms: int, next_send_ms: int) -> None:
    """The broker has the message; it goes again at `next_send_ms` unless something marks it done before."""
    o = outbox_down.c
    values = {"attempts": o.attempts + 1, "last_sent_ms": now_ms, "next_send_ms": next_send_ms, "owner": None,
              "lease_until_ms": None}  # fmt: skip
    conn.execute(update(outbox_down).where(o.outbox_no == outbox_no, o.owner == owner).values(**values))


def release(conn: Connection, owner: str, outbox_no: int) -> None:
    """The message could not be handed to the broker: free for the next attempt at once."""
    o = outbox_down.c
    conn.execute(update(outbox_down).where(o.outbox_no == outbox_no, o.owner == owner).values(owner=None, lease_until_ms=None))


def done(conn: Connection, channel: str, ref: str, now_ms: int) -> None:
    """The other side has it: never sent again."""
    o = outbox_down.c
    conn.execute(update(outbox_down).where(o.channel == channel, o.ref == ref, o.done_ms.is_(None)).values(done_ms=now_ms))


def configs_done(conn: Connection, dcu: str, below: int, now_ms: int) -> None:
    """Configurations of a DCU older than version `below` are overtaken or held."""
    o = outbox_down.c
    query = select(o.outbox_no, o.ref).where(o.dcu == dcu, o.channel == "config", o.done_ms.is_(None))
    old = [row.outbox_no for row in conn.execute(query) if int(row.ref) < below]
    if old:
        conn.execute(update(outbox_down).where(o.outbox_no.in_(old)).values(done_ms=now_ms))


def wake(conn: Connection, dcu: str, now_ms: int) -> None:
    """The DCU is there (hello): send all that waits for it now."""
    o = outbox_down.c
    where = and_(o.dcu == dcu, o.done_ms.is_(None), o.next_send_ms > now_ms)
    conn.execute(update(outbox_down).where(where).values(next_send_ms=now_ms))


def attempts_of(conn: Connection, channel: str, ref: str) -> int:
    """How often a message was handed to the broker."""
    o = outbox_down.c
    query = select(func.coalesce(func.max(o.attempts), 0)).where(o.channel == channel, o.ref == ref)
    return int(conn.execute(query).scalar_one())
