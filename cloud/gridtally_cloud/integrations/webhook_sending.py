"""The worker's part of webhooks: what waits is claimed, sent and noted, receiver by receiver, as with messages (customers/delivery.py).

* A notice is claimed before it is sent and sent outside a transaction; a worker that dies leaves it for the next after `CLAIM_MS`.
* Receivers do not wait for each other: each has a thread of its own (`server.py`), and a turn of it ends after `TURN_S`.
* One that can not be reached is left alone for longer each time (`patience.py`), and then asked with one notice; the others wait for it
  untried, until they are too old. One that answers, with whatever, is asked for each notice by itself.
* What was written beside the end of its receiver is not sent: nobody is told after the end.
* `Gridtally-Notice` is the number of the notice; how it is signed and sent: `posting.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from gridtally_cloud.integrations.patience import RECEIVERS
from gridtally_cloud.integrations.posting import Fault, post
from gridtally_cloud.integrations.webhook_tables import webhook, webhook_notice
from gridtally_cloud.integrations.webhooks import NoticeState
from gridtally_cloud.store.db import Database

log = logging.getLogger(__name__)

CLAIM_MS = 120_000
AT_ONCE = 20
TURN_S = 30.0
NUMBER = "Gridtally-Notice"
_n, _w = webhook_notice.c, webhook.c


def receivers_due(db: Database, now_ms: int) -> tuple[int, ...]:
    """Receivers something is due for; those that answered last first."""
    due = select(_w.webhook_no).where(_w.ended_ms.is_(None), _w.next_ms <= now_ms, select(_n.notice_no).where(
        _n.webhook_no == _w.webhook_no, _n.state == NoticeState.WAITING.value, _n.next_ms <= now_ms).exists())  # fmt: skip
    with db.read() as conn:
        return tuple(conn.execute(due.order_by(_w.attempts, _w.webhook_no)).scalars())


def send_due(db: Database, now_ms: int) -> int:
    """Send what is due, one receiver after the other; how many notices were taken."""
    return sum(send_to(db, webhook_no, now_ms) for webhook_no in receivers_due(db, now_ms))


def send_to(db: Database, webhook_no: int, now_ms: int) -> int:
    """Send what is due for one receiver, as far as it takes it; how many notices were taken."""
    with db.write() as conn:
        claimed = _claim(conn, webhook_no, now_ms)
    tried, until_s = list[tuple[Any, Fault | None]](), time.monotonic() + TURN_S
    for row in claimed:
        if (tried and _is_away(tried[-1][1])) or time.monotonic() > until_s:
            break
        tried.append((row, _sent(row)))
    if claimed:
        with db.write() as conn:
            _give_back(conn, claimed[len(tried):], now_ms)
            _note_receiver(conn, webhook_no, [fault for _, fault in tried], now_ms)
            for row, fault in tried:
                _note(conn, row, fault, now_ms)
    return sum(fault is None for _, fault in tried)


def _is_away(fault: Fault | None) -> bool:
    return fault is not None and not fault.reached


def _sent(row: Any) -> Fault | None:
    headers = {"Content-Type": "application/json", NUMBER: str(row.notice_no)}
    return post(row.url, row.secret, headers, row.body.encode())


def _claim(conn: Connection, webhook_no: int, now_ms: int) -> list[Row[Any]]:
    """One notice where the receiver was away, to see whether it is back."""
    receiver = conn.execute(select(_w.attempts).where(_w.webhook_no == webhook_no, _w.ended_ms.is_(None), _w.next_ms <= now_ms)).first()
    if receiver is None:
        return []
    query = select(webhook_notice, _w.url, _w.secret).join(webhook, _w.webhook_no == _n.webhook_no)
    due = query.where(_n.webhook_no == webhook_no, _n.state == NoticeState.WAITING.value, _n.next_ms <= now_ms)
    due = due.order_by(_n.notice_no).limit(1 if receiver.attempts else AT_ONCE)
    rows = list(conn.execute(due.with_for_update(skip_locked=True, of=webhook_notice)))
    taken = update(webhook_notice).where(_n.notice_no.in_([r.notice_no for r in rows]))
    conn.execute(taken.values(attempts=_n.attempts + 1, next_ms=now_ms + CLAIM_MS))
    return rows


def _give_back(conn: Connection, untried: Sequence[Row[Any]], now_ms: int) -> None:
    mine = update(webhook_notice).where(_n.notice_no.in_([r.notice_no for r in untried]), _n.state == NoticeState.WAITING.value)
    conn.execute(mine.values(attempts=_n.attempts - 1, next_ms=now_ms))


def _note_receiver(conn: Connection, webhook_no: int, faults: Sequence[Fault | None], now_ms: int) -> None:
    """Left alone for longer each time it was away; what is too old by then is dead, tried or not."""
    mine = update(webhook).where(_w.webhook_no == webhook_no)
    if not faults or not _is_away(faults[-1]):
        conn.execute(mine.where(_w.attempts > 0).values(attempts=0, next_ms=0))
        return
    attempts = conn.execute(mine.values(attempts=_w.attempts + 1).returning(_w.attempts)).scalar_one()
    next_ms = RECEIVERS.next_ms(attempts - 1, now_ms)
    conn.execute(mine.values(next_ms=next_ms))
    old = (_n.webhook_no == webhook_no, _n.state == NoticeState.WAITING.value, _n.created_ms <= next_ms - RECEIVERS.life_ms)
    text = faults[-1].text[:200] if faults[-1] else ""
    conn.execute(update(webhook_notice).where(*old).values(state=NoticeState.DEAD.value, fault=text))


def _note(conn: Connection, row: Any, fault: Fault | None, now_ms: int) -> None:
    """One whose receiver was away is due when that is asked again."""
    next_ms, text = RECEIVERS.next_ms(row.attempts, now_ms), fault.text if fault else ""
    state = NoticeState.TAKEN
    if fault:
        state = NoticeState.DEAD if RECEIVERS.is_over(row.created_ms, next_ms) else NoticeState.WAITING
        log.warning("a webhook notice waits", extra={"notice_no": row.notice_no, "fault": text})
    values = {"state": state.value, "fault": text[:200], "next_ms": now_ms if _is_away(fault) else next_ms,
              "taken_ms": None if fault else now_ms}  # fmt: skip
    conn.execute(update(webhook_notice).where(_n.notice_no == row.notice_no, _n.state == NoticeState.WAITING.value).values(values))
