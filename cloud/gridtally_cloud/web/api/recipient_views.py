"""`/api/v1`: recipients of data, what went to each, and data for one of them now (ETSI TR 102 691, 5.2.3).

Folders are addresses only the command line gives: over the API a recipient is reached by https.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, jsonify, request
from sqlalchemy import Connection

from gridtally_cloud.exchange import asking, deliveries, recipients
from gridtally_cloud.exchange.asking import Question, Refusal
from gridtally_cloud.exchange.recipient_cli import as_object, delivery_object
from gridtally_cloud.exchange.recipients import DeliveryState, RecipientReason
from gridtally_cloud.exchange.scheduling import Wish, book
from gridtally_cloud.store.days import utc_text
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.api.reading import body, token
from gridtally_cloud.web.site import site
from gridtally_shared.errors import ConfigError, RefusedCommand

Answer = tuple[Response, int]
MISSING = frozenset({RecipientReason.UNKNOWN_RECIPIENT, RecipientReason.UNKNOWN_DELIVERY})


def all_recipients() -> Answer:
    return jsonify({"items": [as_object(r) for r in _read(recipients.recipients)], "next": None}), 200


def create_recipient() -> Answer:
    raw = body()
    to = [str(x) for x in raw["addresses"]] if isinstance(raw.get("addresses"), list) else []
    if any(recipients.is_folder(target) for target in to):
        raise Problem(422, "bad-url", "Addresses over the API are https://...; folders are given at the command line.")
    made, given = _done(lambda conn: recipients.add(conn, str(raw.get("name") or ""), to, "", site().now_ms, _by()))
    return jsonify(as_object(made) | {"secrets": given}), 201


def end_recipient(name: str) -> Answer:
    return jsonify(as_object(_done(lambda conn: recipients.end(conn, name, site().now_ms, _by())))), 200


def create_recipient_schedule(name: str) -> Answer:
    raw = body()
    wish = Wish(_text(raw, "name"), _text(raw, "format"), _text(raw, "every", "day"), _text(raw, "at"), _text(raw, "zone", "UTC"), None,
                name, _text(raw, "kind", "intervals"), _number(raw, "ago", 1), _list(raw, "usage_points"),
                _list(raw, "quantities"), raw.get("by_label") is True, _text(raw, "sender"), raw.get("validated") is True)  # fmt: skip
    made = _done(lambda conn: book(conn, wish, "", site().now_ms, _by()))
    next_at = utc_text(made.next_ms(site().now_ms))
    return jsonify({"name": made.name, "recipient": name, "kind": made.kind, "format": made.format, "next_at": next_at}), 201


def recipient_deliveries(name: str) -> Answer:
    """Newest first; `state` narrows."""
    state = request.args.get("state", "")
    if state and state not in [known.value for known in DeliveryState]:
        raise Problem(400, "bad-state", f"state is one of {', '.join(DeliveryState)}.")
    found = _read(lambda conn: deliveries.deliveries(conn, name, DeliveryState(state) if state else None))
    return jsonify({"items": [delivery_object(d) for d in found], "next": None}), 200


def recipient_errors(name: str) -> Answer:
    found = _read(lambda conn: deliveries.errors(conn, name))
    rows = [{"error_no": e.error_no, "type": e.type.value, "at": utc_text(e.at_ms), "ref": e.ref, "detail": e.detail} for e in found]
    return jsonify({"items": rows, "next": None}), 200


def send_delivery_again(delivery_no: int) -> Answer:
    return jsonify(delivery_object(_done(lambda conn: deliveries.send_again(conn, delivery_no, site().now_ms, _by())))), 202


def request_data(name: str) -> Answer:
    raw = body()
    points = tuple(str(x) for x in raw["usage_points"]) if isinstance(raw.get("usage_points"), list) else ()
    question = Question(_text(raw, "kind", "intervals"), _text(raw, "format", "csv"), points, _text(raw, "from"), _text(raw, "to"))
    found = _done(lambda conn: asking.ask(conn, name, question, site().now_ms, _by()))
    if isinstance(found, Refusal):
        raise Problem(422, found.reason.value.replace("_", "-"), found.detail)
    return jsonify({"files": list(found.files), "values": found.values}), 202


def _text(raw: dict[str, Any], name: str, default: str = "") -> str:
    return str(raw.get(name) or default)


def _number(raw: dict[str, Any], name: str, default: int) -> int:
    return raw[name] if type(raw.get(name)) is int else default


def _list(raw: dict[str, Any], name: str) -> tuple[str, ...]:
    found = raw.get(name, [])
    if not isinstance(found, list):
        raise Problem(422, "bad-list", f"{name} is a list.")
    return tuple(str(each) for each in found)


def _read(look: Callable[[Connection], Any]) -> Any:
    _staff_only()
    with site().db.read() as conn:
        return _told(lambda: look(conn))


def _done(change: Callable[[Connection], Any]) -> Any:
    _staff_only()
    with site().db.write() as conn:
        return _told(lambda: change(conn))


def _told(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except RefusedCommand as refused:
        raise Problem(404 if refused.reason in MISSING else 422, str(refused.reason).replace("_", "-"), refused.detail) from None
    except ConfigError as error:
        raise Problem(422, "malformed", f"{error.key.removeprefix('--')}: {error.remedy}.") from None


def _staff_only() -> None:
    if token().customer_no is not None:
        raise Problem(403, "not-for-customers", "A customer's token can not do this.")


def _by() -> str:
    return f"api:{token().name}"
