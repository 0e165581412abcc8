"""Where the engine of a managed account stands between two runs (prepay/managed_run.py): its standing, and what is known of the switch."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, Number, Wh, metadata

managed_supply = Table(
    "managed_supply", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, nullable=False),
    Column("standing", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("held", Text, nullable=False),
    Column("held_wh", Wh),
    Column("good_ms", Ms, nullable=False),
    Column("switch", Integer, nullable=False),
    Column("switch_ms", Ms, nullable=False),
    Column("off_reason", Text, nullable=False),
    Column("off_since_ms", Ms, nullable=False),
    Column("closed_by_order_ms", Ms),
    Column("others_ms", Ms, nullable=False),
    Column("resyncs", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("stuck_until_ms", Ms, nullable=False),
    Column("fault", Text, nullable=False),
    Column("arms", Boolean),
    Column("order_id", Blob),
    Column("order_close", Boolean, nullable=False),
    Column("late_cut", Boolean, nullable=False),
)  # fmt: skip
