"""API tokens: made, listed, revoked and checked. 256 random bits, kept as a hash, with scopes and an end.

A token with a `customer_no` is a consumer's own (a mobile app): it reaches that customer's accounts and meters and
nothing else, whatever its scopes say.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gridtally_cloud.customers.audit import record
from gridtally_cloud.web.tables import api_token
from gridtally_shared.clock import MS_PER_DAY
from gridtally_shared.records import dataclass

SCOPES = (
    "meters:read", "readings:read", "events:read", "commands:read", "commands:write", "accounts:read", "accounts:write", "bills:read",
    "payments:write", "cash:write", "settings:write", "station:write", "orders:read", "orders:write", "webhooks:write",
    "inquiries:write", "recipients:write", "grid:read", "grid:export",
)  # fmt: skip
LIFE_MS = 365 * MS_PER_DAY
PREFIX = "gt1_"


@dataclass(frozen=True, slots=True)
class Token:
    token_no: int
    name: str
    scopes: tuple[str, ...]
    customer_no: int | None
    created_at_ms: int
    created_by: str
    expires_ms: int
    revoked_ms: int | None

    def is_live(self, at_ms: int) -> bool:
        return self.revoked_ms is None and at_ms < self.expires_ms


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def create_token(conn: Connection, name: str, scopes: tuple[str, ...], at_ms: int, actor: str, *,
                 customer_no: int | None = None, life_ms: int = LIFE_MS) -> str:  # fmt: skip
    """The new token's text, to be shown once. Raises ValueError for a scope nobody knows."""
    if not scopes or set(scopes) - set(SCOPES):
        raise ValueError(f"scopes are out of {', '.join(SCOPES)}")
    token = PREFIX + secrets.token_urlsafe(32)
    conn.execute(insert(api_token).values(token_hash=_digest(token), name=name, scopes=" ".join(scopes), customer_no=customer_no,
                                          created_ms=at_ms, created_by=actor, expires_ms=at_ms + life_ms))  # fmt: skip
    record(conn, at_ms, actor, "token.created", f"token:{name}", " ".join(scopes))
    return token


def _token(r: Row[Any]) -> Token:
    return Token(r.token_no, r.name, tuple(r.scopes.split()), r.customer_no, r.created_ms, r.created_by, r.expires_ms,
                 r.revoked_ms)  # fmt: skip


def list_tokens(conn: Connection) -> tuple[Token, ...]:
    """Newest first."""
    return tuple(_token(r) for r in conn.execute(select(api_token).order_by(api_token.c.token_no.desc())))


def revoke_token(conn: Connection, token_no: int, at_ms: int, actor: str) -> None:
    """End a token now; nothing happens to one that has ended."""
    open_one = update(api_token).where(api_token.c.token_no == token_no, api_token.c.revoked_ms.is_(None))
    if conn.execute(open_one.values(revoked_ms=at_ms)).rowcount:
        record(conn, at_ms, actor, "token.revoked", f"token:{token_no}")


def resolve_token(conn: Connection, token: str, at_ms: int) -> Token | None:
    """The live token behind a text, or None."""
    row = conn.execute(select(api_token).where(api_token.c.token_hash == _digest(token))).one_or_none()
    found = _token(row) if row else None
    return found if found and found.is_live(at_ms) else None
