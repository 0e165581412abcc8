"""The table of work orders: what somebody has to do, since when, and what came of it.

The same thing is ordered once: (kind, ref) is unique.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text, UniqueConstraint

from gridtally_cloud.store.base import Key, Ms, metadata

work_order = Table(
    "work_order", metadata,
    Column("order_no", Key, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("ref", Text, nullable=False),  # what it is about
    Column("account_no", Key, nullable=False),
    Column("meter_no", Key),
    Column("reason", Text, nullable=False, default=""),  # a code the page has words for
    Column("detail", Text, nullable=False, default=""),
    Column("state", Text, nullable=False),  # open, done, dropped
    Column("opened_by", Text, nullable=False),
    Column("opened_ms", Ms, nullable=False),
    Column("closed_by", Text, nullable=False, default=""),
    Column("closed_ms", Ms),
    Column("note", Text, nullable=False, default=""),
    Column("result", Text, nullable=False, default="{}"),  # JSON: what the report says
    UniqueConstraint("kind", "ref"),
    Index("ix_work_order_state", "state", "opened_ms"),
    Index("ix_work_order_account", "account_no", "opened_ms"),
)  # fmt: skip
