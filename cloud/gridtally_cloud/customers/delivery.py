"""The worker's part of messages to consumers: what waits is claimed, handed to its sender, and noted.

* A message is claimed before it is sent and sent outside a transaction; a worker that dies leaves it for the next after `CLAIM_MS`.
* Channels do not wait for each other: each has a thread of its own (`server.py`), and a turn of it ends after `TURN_S`. Where the way out
  is away, the rest of the turn is put off with the one that found it so, untried.
* What could not be handed over is tried again after the steps of `AGAIN_MS`; after a day it has expired. A message whose channel has no
  sender waits, with the reason beside it, and expires like any other.
* Times are those of the clock given; nothing is remembered in memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from gridtally_cloud.customers.contact_tables import consumer_message
from gridtally_cloud.customers.outgoing import Channel, MessageState, Outgoing, outgoing_from
from gridtally_cloud.customers.senders import Away, Senders
from gridtally_cloud.store.db import Database
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.errors import LinkDown, RefusedCommand

log = logging.getLogger(__name__)

CLAIM_MS = 120_000
AGAIN_MS = (15_000, 60_000, 300_000, 1_800_000, 7_200_000)
LIFE_MS = MS_PER_DAY
AT_ONCE = 100
TURN_S = 30.0


def channels_due(db: Database, now_ms: int) -> tuple[Channel, ...]:
    """Those with something to send."""
    m = consumer_message.c
    with db.read() as conn:
        due = select(m.channel).where(m.state == MessageState.WAITING.value, m.next_ms <= now_ms).distinct()
        return tuple(Channel(name) for name in conn.execute(due.order_by(m.channel)).scalars())


def deliver(db: Database, senders: Senders, now_ms: int) -> int:
    """Send what is due, one channel after the other; how many messages left."""
    return sum(deliver_by(db, senders, channel, now_ms) for channel in channels_due(db, now_ms))


def deliver_by(db: Database, senders: Senders, channel: Channel, now_ms: int) -> int:
    """Send what is due by one channel; how many messages left."""
    with db.write() as conn:
        claimed = _claim(conn, channel, now_ms)
    results = tuple(_sent_in_turn(senders, claimed))
    with db.write() as conn:
        _give_back(conn, claimed[len(results):], now_ms)
        for message, state, via, fault in results:
            _note(conn, message, state, via, fault, now_ms)
    return sum(state is MessageState.SENT for _, state, _, _ in results)


def _sent_in_turn(senders: Senders, claimed: Sequence[Outgoing]) -> Iterator[tuple[Outgoing, MessageState, str, str]]:
    """What became of each; those behind the end of the turn are left out."""
    until_s, away = time.monotonic() + TURN_S, ""
    for message in claimed:
        if time.monotonic() > until_s:
            return
        if away:
            yield message, MessageState.WAITING, senders[message.channel].name, away
            continue
        try:
            yield message, *_send(senders, message)
        except Away as error:
            away = str(error)
            log.warning("messages wait", extra={"channel": message.channel.value, "fault": away})
            yield message, MessageState.WAITING, senders[message.channel].name, away


def _due(conn: Connection, channel: Channel, now_ms: int, limit: int) -> list[Any]:
    m = consumer_message.c
    query = select(consumer_message).where(m.state == MessageState.WAITING.value, m.next_ms <= now_ms, m.channel == channel.value)
    return list(conn.execute(query.order_by(m.message_no).limit(limit).with_for_update(skip_locked=True)))


def _give_back(conn: Connection, untried: Sequence[Outgoing], now_ms: int) -> None:
    m = consumer_message.c
    mine = (m.message_no.in_([message.message_no for message in untried]), m.state == MessageState.WAITING.value)
    conn.execute(update(consumer_message).where(*mine).values(attempts=m.attempts - 1, next_ms=now_ms))


def _claim(conn: Connection, channel: Channel, now_ms: int) -> tuple[Outgoing, ...]:
    rows, m = _due(conn, channel, now_ms, AT_ONCE), consumer_message.c
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
    except Away:
        raise
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
