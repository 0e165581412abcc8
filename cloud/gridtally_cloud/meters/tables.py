"""Tables of what is wanted of meters and where they are: settings, name plates, places in the network."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, metadata

meter_setting = Table(
    "meter_setting", metadata,
    Column("meter_no", Key, primary_key=True, autoincrement=False),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("wanted", Blob),
    Column("wanted_at_ms", Ms),
    Column("cmd_id", Blob, index=True),
    Column("campaign", Text, index=True),
    Column("reported", Blob),
    Column("reported_at_ms", Ms),
)  # fmt: skip

name_plate = Table(
    "name_plate", metadata,
    Column("meter_no", Key, primary_key=True, autoincrement=False),
    Column("maker", Text, nullable=False, default=""),
    Column("model", Text, nullable=False, default=""),
    Column("firmware", Text, nullable=False, default=""),
    Column("category", Text, nullable=False, default=""),
    Column("year", Text, nullable=False, default=""),
    Column("read_at_ms", Ms, nullable=False),
)  # fmt: skip

node = Table(
    "node", metadata,
    Column("node", Text, primary_key=True),
    Column("dcu", Text, nullable=False, index=True),
    Column("line", Text, nullable=False),
    Column("state", Integer, nullable=False),
    Column("address", Text, nullable=False, default=""),
    Column("parent", Text, nullable=False, default=""),
    Column("hops", Integer, nullable=False, default=0),
    Column("quality", Integer, nullable=False, default=0),
    Column("serial", Text, nullable=False, default=""),
    Column("at_ms", Ms, nullable=False),
)  # fmt: skip

place = Table(
    "place", metadata,
    Column("place_no", Key, primary_key=True),
    Column("serial", Text, nullable=False),
    Column("node", Text, nullable=False, default=""),
    Column("dcu", Text, nullable=False),
    Column("line", Text, nullable=False),
    Column("address", Text, nullable=False, default=""),
    Column("parent", Text, nullable=False, default=""),
    Column("hops", Integer, nullable=False, default=0),
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms),
    Index("ix_place_serial", "serial", "from_ms"),
)  # fmt: skip
"""History: one row for each place a meter had, `to_ms` null for the present one."""
