"""`/api/v1`: receivers of notices, and what became of each notice (C3-FR31)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Response, jsonify
from sqlalchemy import Connection

from gridtally_cloud.integrations import webhooks as service
from gridtally_cloud.integrations.webhooks import Notice, Webhook, WebhookReason
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, token
from gridtally_cloud.web.api.writing import time_or_null
from gridtally_cloud.web.site import site
from gridtally_shared.errors import RefusedCommand

Answer = tuple[Response, int]
MISSING = frozenset({WebhookReason.UNKNOWN_WEBHOOK, WebhookReason.UNKNOWN_NOTICE})


def webhooks() -> Answer:
    _staff_only()
    with site().db.read() as conn:
        return jsonify({"items": [_webhook(w) for w in service.webhooks(conn)], "next": None}), 200


def create_webhook() -> Answer:
    raw = body()
    topics = raw.get("topics")
    if not isinstance(topics, list):
        raise Problem(422, "unknown-topic", f"topics is a list out of {', '.join(t.value for t in service.Topic)}.")
    name, url, wanted = str(raw.get("name") or ""), str(raw.get("url") or ""), tuple(str(t) for t in topics)
    made, secret = _done(lambda conn: service.add(conn, name, url, wanted, site().now_ms, _by()))
    return jsonify(_webhook(made) | {"secret": secret}), 201


def end_webhook(webhook_no: int) -> Answer:
    return jsonify(_webhook(_done(lambda conn: service.end(conn, webhook_no, site().now_ms, _by())))), 200


def webhook_notices(webhook_no: int) -> Answer:
    _staff_only()
    with site().db.read() as conn:
        try:
            service.find(conn, webhook_no)
        except RefusedCommand as refused:
            raise _problem(refused) from None
        return jsonify({"items": [_notice(n) for n in service.notices(conn, webhook_no)], "next": None}), 200


def send_notice_again(notice_no: int) -> Answer:
    return jsonify(_notice(_done(lambda conn: service.send_again(conn, notice_no, site().now_ms, _by())))), 202


def _done(change: Callable[[Connection], Any]) -> Any:
    _staff_only()
    with site().db.write() as conn:
        try:
            return change(conn)
        except RefusedCommand as refused:
            raise _problem(refused) from None


def _problem(refused: RefusedCommand) -> Problem:
    return Problem(404 if refused.reason in MISSING else 422, str(refused.reason).replace("_", "-"), refused.detail)


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


def _by() -> str:
    return f"api:{token().name}"


def _webhook(w: Webhook) -> dict[str, Any]:
    return {"webhook_no": w.webhook_no, "name": w.name, "url": w.url, "topics": list(w.topics), "created_by": w.created_by,
            "created_at": utc_text(w.created_ms), "ended_at": time_or_null(w.ended_ms)}  # fmt: skip


def _notice(n: Notice) -> dict[str, Any]:
    return {"notice_no": n.notice_no, "webhook_no": n.webhook_no, "topic": n.topic, "state": n.state.value, "fault": n.fault,
            "attempts": n.attempts, "created_at": utc_text(n.created_ms), "taken_at": time_or_null(n.taken_ms),
            "body": json.loads(n.body)}  # fmt: skip
