"""A repeated POST with the same Idempotency-Key gets the first answer; the same key for another order is a mistake.

Commands keep their key in their own row; this table serves the orders to pay.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, insert, select

from gridtally_cloud.web.api.problems import Problem
from gridtally_cloud.web.tables import api_request


def digest_of(path: str, body: dict[str, Any]) -> bytes:
    return hashlib.sha256(f"{path}\n{json.dumps(body, sort_keys=True)}".encode()).digest()


def earlier(conn: Connection, key: str, digest: bytes) -> str | None:
    """What the key led to before; None for a new key. Raises Problem (409) when the order was another one."""
    row = conn.execute(select(api_request).where(api_request.c.key == key)).one_or_none()
    if row is not None and bytes(row.digest) != digest:
        raise Problem(409, "key-reused", "This Idempotency-Key was used for another request: send a new key.")
    return row.ref if row is not None else None


def remember(conn: Connection, key: str, digest: bytes, ref: str, at_ms: int) -> None:
    conn.execute(insert(api_request).values(key=key, digest=digest, ref=ref, at_ms=at_ms))
