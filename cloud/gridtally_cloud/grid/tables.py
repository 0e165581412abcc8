"""Tables of the network register: transformers with their feeder, and which usage point hangs behind which.

* `grid_place`: from `from_ms` on a usage point hangs behind this transformer, until its next row. A row that came with an installation
  report has the meter and the register it began with.
* `grid_operator`: a token with rows sees these feeders and nothing else of the network.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from gridtally_cloud.store.base import Key, Ms, Number, metadata

transformer = Table(
    "transformer", metadata,
    Column("name", Text, primary_key=True),
    Column("feeder", Text, nullable=False),
    Column("rating_va", Number),  # None: unknown
    Column("meter_point_no", Key),  # usage point of its own meter, which counts what it gives
    Column("made_ms", Ms, nullable=False),
    Column("made_by", Text, nullable=False),
    Index("ix_transformer_feeder", "feeder"),
)  # fmt: skip

grid_place = Table(
    "grid_place", metadata,
    Column("usage_point_no", Key, primary_key=True, autoincrement=False),
    Column("from_ms", Ms, primary_key=True, autoincrement=False),
    Column("transformer", Text, nullable=False),
    Column("meter_serial", Text, nullable=False, default=""),
    Column("register_wh", Number),
    Column("noted_by", Text, nullable=False),
    Index("ix_grid_place_transformer", "transformer"),
)  # fmt: skip

grid_operator = Table(
    "grid_operator", metadata,
    Column("token_no", Key, primary_key=True, autoincrement=False),
    Column("feeder", Text, primary_key=True),
)  # fmt: skip
