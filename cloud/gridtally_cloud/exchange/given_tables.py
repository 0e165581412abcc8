"""Table of what was given to others: which usage points, which span, to whom."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from gridtally_cloud.store.base import Key, Ms, metadata, shard_column

data_given = Table(
    "data_given", metadata,
    shard_column(),
    Column("usage_point_no", Key, primary_key=True, autoincrement=False),
    Column("taker", Text, primary_key=True),  # recipient:NAME, folder:SCHEDULE, retailer:CODE, token:NAME
    Column("from_ms", Ms, primary_key=True, autoincrement=False),
    Column("to_ms", Ms, nullable=False),
    Column("last_ms", Ms, nullable=False),  # when it was given last
    Index("ix_data_given_taker", "taker"),
    sqlite_with_rowid=False,
)  # fmt: skip
