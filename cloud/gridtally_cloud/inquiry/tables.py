"""Tables of retailers and of what was asked of meters from the MDM's side: balance inquiries and re-reads of missing data.

* `retailer_of_record`: from `from_ms` on a usage point belongs to this retailer; the empty code is the utility itself, which also stands
  where there is no row.
* `data_request` keeps its key figures: how many intervals were lacking when it was asked, and how many of them came.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, metadata

retailer = Table(
    "retailer", metadata,
    Column("code", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip

retailer_of_record = Table(
    "retailer_of_record", metadata,
    Column("usage_point_no", Key, primary_key=True, autoincrement=False),
    Column("from_ms", Ms, primary_key=True, autoincrement=False),
    Column("retailer", Text, nullable=False),
    Column("noted_by", Text, nullable=False),
)  # fmt: skip

retailer_token = Table(
    "retailer_token", metadata,
    Column("token_no", Key, primary_key=True, autoincrement=False),
    Column("retailer", Text, nullable=False),
)  # fmt: skip

inquiry_limit = Table(
    "inquiry_limit", metadata,
    Column("usage_point_no", Key, primary_key=True, autoincrement=False),  # 0: every usage point without a row of its own
    Column("kind", Text, primary_key=True),
    Column("per_day", Integer, nullable=False),
)  # fmt: skip

data_request = Table(
    "data_request", metadata,
    Column("request_no", Key, primary_key=True),
    Column("kind", Text, nullable=False),  # gap, balance, read, power_status
    Column("usage_point_no", Key, nullable=False),
    Column("meter_no", Key, nullable=False),
    Column("day", Integer, nullable=False),  # local day on which it was asked
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms, nullable=False),
    Column("retailer", Text, nullable=False, default=""),
    Column("requested_by", Text, nullable=False),
    Column("cmd_id", Blob),  # None: the meter was not asked
    Column("state", Text, nullable=False),  # queued, asked, delivered, answered, merged, gave_up
    Column("reason", Text, nullable=False, default=""),
    Column("lacking", Integer, nullable=False, default=0),
    Column("filled", Integer, nullable=False, default=0),
    Column("asked_ms", Ms, nullable=False),
    Column("state_at_ms", Ms, nullable=False),
    Index("ix_data_request_state", "state"),
    Index("ix_data_request_point", "usage_point_no", "day"),
)  # fmt: skip
