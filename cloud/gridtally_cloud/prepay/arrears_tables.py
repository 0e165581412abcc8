"""The table of load limits for what is owed on bills: told first, ordered after the notice, lifted on payment (C3-N5)."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from gridtally_cloud.store.base import Key, Ms, Nano, metadata

arrears_limit = Table(
    "arrears_limit", metadata,
    Column("limit_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("watts", Integer, nullable=False),
    Column("owed_nano", Nano, nullable=False),  # what was overdue when it was told
    Column("paid_nano", Nano),  # all that was paid until then
    Column("state", Text, nullable=False),  # told, ordered, lifted, dropped
    Column("reason", Text, nullable=False, default=""),
    Column("due_ms", Ms, nullable=False),
    Column("told_ms", Ms, nullable=False),
    Column("ordered_ms", Ms),
    Column("ended_ms", Ms),
    Column("actor", Text, nullable=False),
    Index("ix_arrears_limit_state", "state"),
    Index("ix_arrears_limit_account", "account_no"),
)  # fmt: skip
