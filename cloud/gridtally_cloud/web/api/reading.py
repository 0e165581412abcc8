"""Reading an API request: token, span, cursor, limit, body. Raises `Problem`."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Any

from flask import g, request

from gridtally_cloud.digits import whole
from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.reads.usage import DIRECTIONS
from gridtally_cloud.web.site import site
from gridtally_cloud.web.tokens import Token, resolve_token
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
MAX_KEY = 200
BEFORE_MS = 32_503_680_000_000
"""The year 3000: what is later does not fit the calendar once days or zones are added."""


@dataclass(frozen=True, slots=True)
class Page:
    """`after` is where the page before ended, () for the first one."""

    after: tuple[int, ...]
    limit: int


def authorise(scope: str) -> None:
    """Check the bearer token; its row is `token()` from then on."""
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not text:
        raise Problem(401, "token-missing", "Send 'Authorization: Bearer <token>'. Staff makes tokens under API access.")
    with site().db.read() as conn:
        found = resolve_token(conn, text.strip(), site().real.now_ms())
    if found is None:
        raise Problem(401, "token-unknown", "This token is unknown, revoked or too old.")
    if scope not in found.scopes:
        raise Problem(403, "scope-missing", f"This token lacks the scope {scope!r}; it has {', '.join(found.scopes)}.")
    g.api_token = found


def token() -> Token:
    found: Token = g.api_token
    return found


def page(width: int) -> Page:
    """Cursor and limit; `width` is how many numbers the cursor of this resource has."""
    limit = whole(request.args.get("limit", str(DEFAULT_LIMIT)), MAX_LIMIT)
    if not limit:
        raise Problem(400, "bad-limit", f"limit is a number from 1 to {MAX_LIMIT}.")
    return Page(_cursor(request.args.get("cursor", ""), width), limit)


def _cursor(text: str, width: int) -> tuple[int, ...]:
    if not text:
        return ()
    try:
        numbers = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        numbers = None
    if not isinstance(numbers, list) or len(numbers) != width or not all(type(n) is int and abs(n) < 2**63 for n in numbers):
        raise Problem(400, "bad-cursor", "The cursor is not one this resource gave: start again without it.")
    return tuple(numbers)


def cursor_text(*numbers: int) -> str:
    """Opaque to the client: where the next page goes on."""
    return base64.urlsafe_b64encode(json.dumps(numbers).encode()).decode().rstrip("=")


def span(default_days: int = 1) -> tuple[int, int]:
    """`from` (inclusive) and `to` (exclusive) in ms; where they are left out, the last days up to and including now."""
    to_ms = moment(request.args["to"], "to") if "to" in request.args else site().now_ms + 1
    from_ms = moment(request.args["from"], "from") if "from" in request.args else to_ms - default_days * MS_PER_DAY
    if from_ms >= to_ms:
        raise Problem(400, "bad-span", "from must lie before to.")
    return from_ms, to_ms


def direction() -> str:
    """Which intervals are asked for; consumption where nothing is said."""
    text = request.args.get("direction", "import")
    if text not in DIRECTIONS:
        raise Problem(400, "bad-direction", f"direction is one of {', '.join(DIRECTIONS)}.")
    return text


def moment(text: Any, name: str) -> int:
    """An instant in RFC 3339 with a zone, in ms UTC."""
    try:
        found = datetime.fromisoformat(str(text).replace(" ", "+"))
        if found.tzinfo is None:
            raise ValueError
        at_ms = int(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        at_ms = -1
    if not 0 <= at_ms < BEFORE_MS:
        raise Problem(400, "bad-time", f"{name} is a time such as 2026-11-21T14:00:00Z, with its zone, from 1970 to 2999.")
    return at_ms


def body() -> dict[str, Any]:
    """The JSON object of a POST."""
    try:
        found = request.get_json(silent=True)
        json.dumps(found, ensure_ascii=False).encode()
    except (RecursionError, UnicodeEncodeError):  # brackets without end; half of a character, which no text holds
        found = None
    if not isinstance(found, dict):
        raise Problem(400, "bad-body", "Send a JSON object of whole characters with Content-Type: application/json.")
    return found


def idempotency_key() -> str:
    """The caller's key, made this token's own."""
    key = request.headers.get("Idempotency-Key", "").strip()
    if not key or len(key) > MAX_KEY:
        raise Problem(400, "key-missing", f"Send an Idempotency-Key header (1 to {MAX_KEY} characters), new for each new order.")
    return f"api:{token().token_no}:{key}"
