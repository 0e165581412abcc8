"""What other systems are told, and who of them wants to know: notices by HTTP, written in the transaction of what they tell.

* A notice is thin: what happened, to which account and meter, when, and the path of `/api/v1` where the whole of it stands.
* Told at least once: a receiver that does not answer 2xx is tried again with growing patience, and after three days the notice is
  dead and stays to be seen and sent again. The number of the notice is the same each time, so a receiver can leave out what it has.
* Each notice is signed with the secret of its receiver (posting.py), which is shown once, when the receiver is added.
* TLS, but for a receiver on the machine itself; no user, password or fragment in the address.

Source: architecture.md 6; mdm.md D; C3-S1.10, C3-A3.7, C3-FR31, BYPL-13.3, BYPL-13.9.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.integrations.webhook_tables import webhook, webhook_notice
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.store.db import insert_new
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.records import dataclass

API = "/api/v1"
Value = str | int | bool | None | Mapping[str, Any]
Said = Mapping[str, Value]


class Topic(StrEnum):
    """What can be told. Values are sent and stored: never renamed."""

    USAGE_CLOSED = "usage.closed"
    MEASUREMENT_RESTATED = "measurement.restated"
    MEASUREMENT_DOUBTED = "measurement.doubted"
    COMMAND_ENDED = "command.ended"
    SUPPLY_TESTED = "supply.tested"
    SCHEDULE_CHANGED = "schedule.changed"
    CREDIT_APPLIED = "credit.applied"
    BALANCE_REPORTED = "balance.reported"
    MODE_CHANGED = "mode.changed"
    ORDER_OPENED = "order.opened"
    ORDER_CLOSED = "order.closed"
    MIGRATION_CHANGED = "migration.changed"


class NoticeState(StrEnum):
    WAITING = "waiting"
    TAKEN = "taken"
    DEAD = "dead"


class WebhookReason(StrEnum):
    BAD_URL = "bad_url"
    UNKNOWN_TOPIC = "unknown_topic"
    UNKNOWN_WEBHOOK = "unknown_webhook"
    UNKNOWN_NOTICE = "unknown_notice"
    NO_NAME = "no_name"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver. Its secret is not in here."""

    webhook_no: int
    name: str
    url: str
    topics: tuple[str, ...]
    created_by: str
    created_ms: int
    ended_ms: int | None


@dataclass(frozen=True, slots=True)
class Notice:
    """`fault` says why it was not taken yet, or never was."""

    notice_no: int
    webhook_no: int
    topic: str
    ref: str
    body: str
    state: NoticeState
    fault: str
    attempts: int
    created_ms: int
    taken_ms: int | None


def announce(conn: Connection, topic: Topic, ref: str, at_ms: int, href: str, said: Said) -> int:
    """Tell every receiver that wants to know; how many notices are new. `href` is the path below /api/v1."""
    wanted = [w.webhook_no for w in _live(conn) if topic.value in w.topics]
    if not wanted:
        return 0
    body = json.dumps({"topic": topic.value, "ref": ref, "at": utc_text(at_ms), "href": API + href, "data": dict(said)}, ensure_ascii=False)
    return insert_new(conn, webhook_notice, [
        {"webhook_no": no, "topic": topic.value, "ref": ref, "body": body, "state": NoticeState.WAITING.value, "fault": "", "attempts": 0,
         "next_ms": at_ms, "created_ms": at_ms} for no in wanted
    ])  # fmt: skip


def is_wanted(conn: Connection, topic: Topic) -> bool:
    """Whether anybody wants to hear of this."""
    return any(topic.value in webhook.topics for webhook in _live(conn))


# ---- receivers ----------------------------------------------------------------------------------------------------


def add(conn: Connection, name: str, url: str, topics: tuple[str, ...], at_ms: int, actor: str) -> tuple[Webhook, str]:
    """A new receiver and its secret, which is shown this once. Raises RefusedCommand (no_name, bad_url, unknown_topic)."""
    if not name.strip():
        raise RefusedCommand(WebhookReason.NO_NAME, "name: missing; say whose receiver it is, such as 'billing'")
    check_url(url)
    known = {topic.value for topic in Topic}
    if not topics or set(topics) - known:
        raise RefusedCommand(WebhookReason.UNKNOWN_TOPIC, f"topics are out of {', '.join(sorted(known))}")
    secret = secrets.token_urlsafe(32)
    row = {"name": name.strip()[:80], "url": url, "topics": " ".join(topics), "secret": secret, "created_by": actor, "created_ms": at_ms}
    number = conn.execute(insert(webhook).values(row).returning(webhook.c.webhook_no)).scalar_one()
    record(conn, at_ms, actor, "webhook.added", f"webhook:{number}", f"{url} {row['topics']}")
    return find(conn, number), secret


def check_url(url: str) -> None:
    """Raises RefusedCommand (bad_url) where nothing may be sent to."""
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and not (parts.username or parts.password or parts.fragment) and parts.port != 0
        good = good and (parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname or "")))
    except ValueError:
        good = False
    if not good:
        raise RefusedCommand(WebhookReason.BAD_URL, f"{url!r}: write an address such as https://billing.example.org/gridtally; http is "
                             "taken for the machine itself only, and user and password stand in no address")  # fmt: skip


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def end(conn: Connection, webhook_no: int, at_ms: int, actor: str) -> Webhook:
    """Tell a receiver no more; what waits for it is dead. Raises RefusedCommand (unknown_webhook)."""
    found = find(conn, webhook_no)
    if found.ended_ms is None:
        conn.execute(update(webhook).where(webhook.c.webhook_no == webhook_no).values(ended_ms=at_ms))
        n = webhook_notice.c
        waiting = (n.webhook_no == webhook_no, n.state == NoticeState.WAITING.value)
        conn.execute(update(webhook_notice).where(*waiting).values(state=NoticeState.DEAD.value, fault="the receiver was ended"))
        record(conn, at_ms, actor, "webhook.ended", f"webhook:{webhook_no}")
    return find(conn, webhook_no)


def send_again(conn: Connection, notice_no: int, at_ms: int, actor: str) -> Notice:
    """A notice once more, from the first try. Raises RefusedCommand (unknown_notice, unknown_webhook)."""
    n = webhook_notice.c
    row = conn.execute(select(webhook_notice).where(n.notice_no == notice_no)).one_or_none()
    if row is None:
        raise RefusedCommand(WebhookReason.UNKNOWN_NOTICE, f"there is no notice {notice_no}: see those of the receiver")
    if find(conn, row.webhook_no).ended_ms is not None:
        raise RefusedCommand(WebhookReason.UNKNOWN_WEBHOOK, f"the receiver of notice {notice_no} was ended: add it anew")
    again = {"state": NoticeState.WAITING.value, "attempts": 0, "next_ms": at_ms, "created_ms": at_ms, "fault": ""}
    conn.execute(update(webhook_notice).where(n.notice_no == notice_no).values(again))
    conn.execute(update(webhook).where(webhook.c.webhook_no == row.webhook_no).values(next_ms=0))
    record(conn, at_ms, actor, "webhook.again", f"notice:{notice_no}")
    return notice_from(conn.execute(select(webhook_notice).where(n.notice_no == notice_no)).one())


def find(conn: Connection, webhook_no: int) -> Webhook:
    """Raises RefusedCommand (unknown_webhook)."""
    row = conn.execute(select(webhook).where(webhook.c.webhook_no == webhook_no)).one_or_none()
    if row is None:
        raise RefusedCommand(WebhookReason.UNKNOWN_WEBHOOK, f"there is no webhook {webhook_no}")
    return _webhook(row)


def webhooks(conn: Connection) -> tuple[Webhook, ...]:
    """All receivers, oldest first, those that were ended too."""
    return tuple(_webhook(r) for r in conn.execute(select(webhook).order_by(webhook.c.webhook_no)))


def notices(conn: Connection, webhook_no: int, limit: int = 100) -> tuple[Notice, ...]:
    """Notices of a receiver, newest first."""
    n = webhook_notice.c
    rows = conn.execute(select(webhook_notice).where(n.webhook_no == webhook_no).order_by(n.notice_no.desc()).limit(limit))
    return tuple(notice_from(r) for r in rows)


_LIVE = select(webhook).where(webhook.c.ended_ms.is_(None))


def _live(conn: Connection) -> tuple[Webhook, ...]:
    return tuple(_webhook(r) for r in conn.execute(_LIVE))


def _webhook(r: Row[Any]) -> Webhook:
    return Webhook(r.webhook_no, r.name, r.url, tuple(r.topics.split()), r.created_by, r.created_ms, r.ended_ms)


def notice_from(r: Row[Any]) -> Notice:
    return Notice(r.notice_no, r.webhook_no, r.topic, r.ref, r.body, NoticeState(r.state), r.fault, r.attempts, r.created_ms, r.taken_ms)
