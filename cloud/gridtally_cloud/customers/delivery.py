"""The worker's part of messages to consumers: what waits is claimed, handed to its sender, and noted.

* A message is claimed before it is sent and sent outside a transaction; a worker that dies leaves it for the next after `CLAIM_MS`.
* What could not be handed over is tried again after the steps of `AGAIN_MS`; after a day it has expired. A message whose channel has no
  sender waits, with the reason beside it, and expires like any other.
* Times are those of the clock given; nothing is remembered in memory.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, select, update

from gridtally_cloud.customers.contact_tables import consumer_message
from gridtally_cloud.customers.outgoing import MessageState, Outgoing, outgoing_from
from gridtally_cloud.customers.senders import Senders
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import LinkDown, RefusedCommand

log = logging.getLogger(__name__)

CLAIM_MS = 120_000
AGAIN_MS = (15_000, 60_000, 300_000, 1_800_000, 7_200_000)
LIFE_MS = MS_PER_DAY
AT_ONCE = 100


def deliver(db: Database, senders: Senders, now_ms: int) -> int:
    """Send what is due; how many messages left."""
    with db.read() as conn:
        if not _due(conn, now_ms, 1):
            return 0
    with db.write() as conn:
        claimed = _claim(conn, now_ms)
    results = [(message, *_send(senders, message)) for message in claimed]
    with db.write() as conn:
        for message, state, via, fault in results:
            _note(conn, message, state, via, fault, now_ms)
    return sum(state is MessageState.SENT for _, state, _, _ in results)


def _due(conn: Connection, now_ms: int, limit: int) -> list[Any]:
    m = consumer_message.c
    query = select(consumer_message).where(m.state == MessageState.WAITING.value, m.next_ms <= now_ms)
    return list(conn.execute(query.order_by(m.message_no).limit(limit).with_for_update(skip_locked=True)))


def _claim(conn: Connection, now_ms: int) -> tuple[Outgoing, ...]:
    rows, m = _due(conn, now_ms, AT_ONCE), consumer_message.c
    taken = update(consumer_message).where(m.message_no.in_([r.message_no for r in rows]))
    conn.execute(taken.values(attempts=m.attempts + 1, next_ms=now_ms + CLAIM_MS))
    return tuple(outgoing_from(row) for row in rows)


def _send(senders: Senders, message: Outgoing) -> tuple[MessageState, str, str]:
    """The state a message has now, the sender's name and what went wrong."""
    sender = senders.get(message.channel)
    if sender is None:
        return MessageState.WAITING, "", f"no sender for {message.channel} is configured (messages.{message.channel})"
    try:
        sender.send(message)
    except RefusedCommand as error:
        return MessageState.FAILED, sender.name, error.detail
    except LinkDown as error:
        log.warning("a message waits", extra={"message_no": message.message_no, "fault": str(error)})
        return MessageState.WAITING, sender.name, str(error)
    return MessageState.SENT, sender.name, ""


def _note(conn: Connection, message: Outgoing, state: MessageState, via: str, fault: str, now_ms: int) -> None:
    next_ms = now_ms + AGAIN_MS[min(message.attempts, len(AGAIN_MS) - 1)]
    if state is MessageState.WAITING and next_ms - message.created_ms >= LIFE_MS:
        state = MessageState.EXPIRED
    values = {"state": state.value, "via": via, "fault": fault[:200], "next_ms": next_ms,
              "sent_ms": now_ms if state is MessageState.SENT else None}  # fmt: skip
    mine = consumer_message.c.message_no == message.message_no
    conn.execute(update(consumer_message).where(mine, consumer_message.c.state == MessageState.WAITING.value).values(values))
