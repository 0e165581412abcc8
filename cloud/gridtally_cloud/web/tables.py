"""Tokens of other programs, and the orders they made under an Idempotency-Key.

Only the SHA-256 of a token is kept; the token itself is shown once, when it is made.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, metadata

api_token = Table(
    "api_token", metadata,
    Column("token_no", Key, primary_key=True),
    Column("token_hash", Blob, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("customer_no", Key),  # set: sees this customer's accounts and meters only
    Column("created_ms", Ms, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_ms", Ms, nullable=False),
    Column("revoked_ms", Ms),
)  # fmt: skip

api_request = Table(
    "api_request", metadata,
    Column("key", Text, primary_key=True),  # api:<token>:<Idempotency-Key>
    Column("digest", Blob, nullable=False),
    Column("ref", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
)  # fmt: skip
