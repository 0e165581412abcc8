"""Tables of policies: the versions of each catalogue, and which account follows which.

* A version is added, never changed. An account without a row follows the single rules of its own record.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gridtally_cloud.store.base import Key, Ms, Number, metadata

policy_version = Table(
    "policy_version", metadata,
    Column("policy_id", Text, primary_key=True),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("from_ms", Ms, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip

account_policy = Table(
    "account_policy", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("policy_id", Text, nullable=False),
    Column("since_ms", Ms, nullable=False),
)  # fmt: skip
