"""Tables of billing reads: what was asked for many meters at once, and the order to each of them.

What became of an item is never stored: it follows from the commands of its order.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, metadata

billing_read = Table(
    "billing_read", metadata,
    Column("job_no", Key, primary_key=True),
    Column("asked", Text, nullable=False),  # the group in words
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip

billing_read_item = Table(
    "billing_read_item", metadata,
    Column("job_no", Key, ForeignKey("billing_read.job_no"), primary_key=True, autoincrement=False),
    Column("meter_no", Key, primary_key=True, autoincrement=False),
    Column("order_id", Blob),  # None: it could not be ordered
    Column("reason", Text, nullable=False, default=""),
)  # fmt: skip
