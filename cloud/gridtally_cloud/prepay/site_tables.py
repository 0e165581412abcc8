"""What people did on site at supplies whose account no concentrator runs (prepay/site_words.py).

`place` is its place among all that was said at the meter. `written_ms`: since when it stands in the journal that is run from
here; `over_ms`: since when the journal of a concentrator says what stands instead.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, Number, metadata, shard_column

site_entry = Table(
    "site_entry", metadata,
    shard_column(),
    Column("entry_id", Blob, primary_key=True),
    Column("meter_no", Key, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("detail", Blob, nullable=False),
    Column("dcu", Text, nullable=False),
    Column("place", Number, nullable=False),
    Column("received_ms", Ms, nullable=False),
    Column("written_ms", Ms),
    Column("over_ms", Ms),
    Index("ix_site_entry_meter", "shard", "meter_no", "place"),
    sqlite_with_rowid=False,
)  # fmt: skip
