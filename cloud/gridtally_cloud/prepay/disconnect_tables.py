"""Tables of disconnect runs: when it was announced, when it is ordered, and what became of each account it looked at.

* Every account at or below zero is an item, also one that is left out, with the reason: who was not cut is as much on record.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, Nano, metadata

disconnect_run = Table(
    "disconnect_run", metadata,
    Column("run_no", Key, primary_key=True),
    Column("order_id", Blob, nullable=False, unique=True),  # of the group: every command of it carries it
    Column("state", Text, nullable=False),  # announced, ordered
    Column("announced_ms", Ms, nullable=False),
    Column("due_ms", Ms, nullable=False),
    Column("ordered_ms", Ms),
    Column("actor", Text, nullable=False),
)  # fmt: skip

disconnect_item = Table(
    "disconnect_item", metadata,
    Column("run_no", Key, ForeignKey("disconnect_run.run_no"), primary_key=True, autoincrement=False),
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("meter_no", Key, nullable=False),
    Column("balance_nano", Nano, nullable=False),
    Column("state", Text, nullable=False),  # announced, left_out, ordered
    Column("reason", Text, nullable=False, default=""),
    Column("cmd_id", Blob),
)  # fmt: skip
