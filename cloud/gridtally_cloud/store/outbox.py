"""The way down as a table: what was signed in a service's transaction, waiting to be published and answered.

* A row is put in the same transaction as the command, instrument or configuration it carries; nothing relies on the
  broker's memory.
* `ref` names the thing: `cmd_id` as hex, `account/epoch/gseq`, or a configuration's version. The same one is put once.
* A row is claimed by lease (owner, until) and sent again until it is `done`: the command has a receipt, the mirror
  shows the instrument, the edge says it holds the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, case, delete, func, insert, or_, select, update

from gridtally_cloud.store.tables import outbox_down
from gridtally_shared.records import dataclass

_o = outbox_down.c
_REF = and_(_o.channel == bindparam("of_channel"), _o.ref == bindparam("of_ref"))
_CLAIMED = and_(_o.outbox_no == bindparam("number"), _o.owner == bindparam("claimed_by"))
_PUT = insert(outbox_down)
_DUE = and_(_o.done_ms.is_(None), _o.next_send_ms <= bindparam("now_ms"))
_ANY_DUE = select(_o.outbox_no).where(_DUE).limit(1)
_FREE = or_(_o.lease_until_ms.is_(None), _o.lease_until_ms <= bindparam("now_ms"), _o.owner == bindparam("claimed_by"))
_TO_CLAIM = (select(outbox_down).where(_DUE, _FREE).order_by(_o.priority, _o.outbox_no).limit(bindparam("most"))
             .with_for_update(skip_locked=True))  # fmt: skip
_THOSE = update(outbox_down).where(_o.outbox_no.in_(bindparam("numbers", expanding=True)))
_CLAIM = _THOSE.values(attempts=_o.attempts + case((_o.owner.is_(None), 0), else_=1))
_SENT = update(outbox_down).where(_CLAIMED).values(attempts=_o.attempts + 1, owner=None, lease_until_ms=None)
_RELEASED = update(outbox_down).where(_CLAIMED).values(owner=None, lease_until_ms=None)
_DONE = update(outbox_down).where(_REF, _o.done_ms.is_(None))
_OPEN_CONFIGS = select(_o.outbox_no, _o.ref).where(_o.dcu == bindparam("of_dcu"), _o.channel == "config", _o.done_ms.is_(None))
_WAKE = update(outbox_down).where(_o.dcu == bindparam("of_dcu"), _o.done_ms.is_(None)).values(
    attempts=case((_o.attempts > 1, 1), else_=_o.attempts)
)  # fmt: skip
_ATTEMPTS = select(func.coalesce(func.max(_o.attempts + case((_o.owner.is_(None), 0), else_=1)), 0)).where(_REF)
_HOLD = select(_o.outbox_no).where(_REF).with_for_update()
"""Built once: building a statement took longer than running it, and these run with every message."""


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
    conn.execute(_PUT, row)


def any_due(conn: Connection, now_ms: int) -> bool:
    """Whether anything waits to be published."""
    return conn.execute(_ANY_DUE, {"now_ms": now_ms}).first() is not None


def claim(conn: Connection, owner: str, now_ms: int, lease_ms: int, limit: int = 100) -> tuple[Due, ...]:
    """Take the rows that are due, most urgent first, for `lease_ms`. What is left of one who died in between counts as sent: it may be."""
    rows = conn.execute(_TO_CLAIM, {"now_ms": now_ms, "claimed_by": owner, "most": limit}).all()
    numbers = [row.outbox_no for row in rows]
    if numbers:
        conn.execute(_CLAIM, {"numbers": numbers, "owner": owner, "lease_until_ms": now_ms + lease_ms})
    return tuple(Due(r.outbox_no, r.dcu, r.channel, r.ref, bytes(r.payload), r.attempts, r.priority) for r in rows)


def sent(conn: Connection, owner: str, outbox_no: int, now_ms: int, next_send_ms: int) -> None:
    """The broker has the message; it goes again at `next_send_ms` unless something marks it done before."""
    values = {"number": outbox_no, "claimed_by": owner, "last_sent_ms": now_ms, "next_send_ms": next_send_ms}
    conn.execute(_SENT, values)


def release(conn: Connection, owner: str, outbox_no: int) -> None:
    """The message could not be handed to the broker: free for the next attempt at once."""
    conn.execute(_RELEASED, {"number": outbox_no, "claimed_by": owner})


def done(conn: Connection, channel: str, ref: str, now_ms: int) -> None:
    """The other side has it: never sent again."""
    conn.execute(_DONE, {"of_channel": channel, "of_ref": ref, "done_ms": now_ms})


def drop(conn: Connection, channel: str, ref: str) -> None:
    """Take back a message that nobody has sent yet, to put another in its place."""
    o = outbox_down.c
    conn.execute(delete(outbox_down).where(o.channel == channel, o.ref == ref, o.attempts == 0, o.owner.is_(None)))


def resend_unended(conn: Connection, dcu: str, channel: str, refs: Sequence[str], now_ms: int) -> None:
    """The edge may have forgotten these: they go again until it answers again."""
    o = outbox_down.c
    where = and_(o.dcu == dcu, o.channel == channel, o.ref.in_(refs))
    conn.execute(update(outbox_down).where(where).values(done_ms=None, next_send_ms=now_ms))


def configs_done(conn: Connection, dcu: str, below: int, now_ms: int) -> None:
    """Configurations of a DCU older than version `below` are overtaken or held."""
    old = [row.outbox_no for row in conn.execute(_OPEN_CONFIGS, {"of_dcu": dcu}) if int(row.ref) < below]
    if old:
        conn.execute(_THOSE, {"numbers": old, "done_ms": now_ms})


def wake(conn: Connection, dcu: str, now_ms: int) -> None:
    """The DCU is there (hello): send all that waits for it now, and what gets lost again soon, however often it went to nobody before."""
    conn.execute(_WAKE, {"of_dcu": dcu, "next_send_ms": now_ms})


def hold(conn: Connection, channel: str, ref: str) -> None:
    """Until the end of the transaction no worker takes the message in hand."""
    conn.execute(_HOLD, {"of_channel": channel, "of_ref": ref})


def attempts_of(conn: Connection, channel: str, ref: str) -> int:
    """How often a message was handed to the broker; in a worker's hands it may be there at any moment, and counts."""
    return int(conn.execute(_ATTEMPTS, {"of_channel": channel, "of_ref": ref}).scalar_one())
