"""The worker's part of webhooks: what waits is claimed, sent and noted, as with messages (customers/delivery.py).

* A notice is claimed before it is sent and sent outside a transaction; a worker that dies leaves it for the next after `CLAIM_MS`.
* What was written beside the end of its receiver is not sent: nobody is told after the end.
* `Gridtally-Signature: t=<seconds>,v1=<hex>` is HMAC-SHA-256 of `<seconds>.<body>` under the receiver's secret; `Gridtally-Notice` is
  the number of the notice. The seconds are the machine's own clock, for a receiver that refuses what is old.
* No redirect is followed and no proxy of the environment is used: a notice goes where it was told to, or nowhere.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import logging
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select, update

from gridtally_cloud.integrations.patience import RECEIVERS
from gridtally_cloud.integrations.webhook_tables import webhook, webhook_notice
from gridtally_cloud.integrations.webhooks import NoticeState
from gridtally_cloud.store.db import Database
from gridtally_shared.records import dataclass

log = logging.getLogger(__name__)

CLAIM_MS = 120_000
AT_ONCE = 20
TIMEOUT_S = 5.0
SIGNATURE, NUMBER = "Gridtally-Signature", "Gridtally-Notice"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why something was not taken. `reached`: the receiver is there, and answered that it does not take it."""

    text: str
    reached: bool


def signature(secret: str, at_s: int, body: bytes) -> str:
    """The value of the signature header."""
    mark = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mark}"


def send_due(db: Database, now_ms: int) -> int:
    """Send what is due; how many notices were taken."""
    with db.read() as conn:
        if not _due(conn, now_ms, 1):
            return 0
    with db.write() as conn:
        claimed = _claim(conn, now_ms)
    faults = [(row, _sent(row)) for row in claimed]
    with db.write() as conn:
        for row, fault in faults:
            _note(conn, row, fault, now_ms)
    return sum(fault is None for _, fault in faults)


def _sent(row: Any) -> Fault | None:
    headers = {"Content-Type": "application/json", NUMBER: str(row.notice_no)}
    return post(row.url, row.secret, headers, row.body.encode())


def _due(conn: Connection, now_ms: int, limit: int) -> list[Any]:
    n = webhook_notice.c
    query = select(webhook_notice, webhook.c.url, webhook.c.secret).join(webhook, webhook.c.webhook_no == n.webhook_no)
    due = query.where(n.state == NoticeState.WAITING.value, n.next_ms <= now_ms, webhook.c.ended_ms.is_(None))
    due = due.order_by(n.notice_no).limit(limit)
    return list(conn.execute(due.with_for_update(skip_locked=True, of=webhook_notice)))


def _claim(conn: Connection, now_ms: int) -> list[Any]:
    rows, n = _due(conn, now_ms, AT_ONCE), webhook_notice.c
    taken = update(webhook_notice).where(n.notice_no.in_([r.notice_no for r in rows]))
    conn.execute(taken.values(attempts=n.attempts + 1, next_ms=now_ms + CLAIM_MS))
    return rows


def post(url: str, secret: str, headers: Mapping[str, str], body: bytes) -> Fault | None:
    """Send one signed request; None where the receiver took it."""
    parts = urlsplit(url)
    sealed = {**headers, SIGNATURE: signature(secret, int(time.time()), body)}
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, sealed)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or error  # without the number in front
        return Fault(f"{parts.hostname} can not be reached ({why})", reached=False)
    finally:
        connection.close()
    return None if 200 <= status < 300 else Fault(f"{parts.hostname} answered {status}", reached=True)


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)


def _note(conn: Connection, row: Any, fault: Fault | None, now_ms: int) -> None:
    n, next_ms, text = webhook_notice.c, RECEIVERS.next_ms(row.attempts, now_ms), fault.text if fault else ""
    state = NoticeState.TAKEN
    if fault:
        state = NoticeState.DEAD if RECEIVERS.is_over(row.created_ms, next_ms) else NoticeState.WAITING
        log.warning("a webhook notice waits", extra={"notice_no": row.notice_no, "fault": text})
    values = {"state": state.value, "fault": text[:200], "next_ms": next_ms, "taken_ms": None if fault else now_ms}
    conn.execute(update(webhook_notice).where(n.notice_no == row.notice_no, n.state == NoticeState.WAITING.value).values(values))
