"""Table of the lots meters were bought in."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Table, Text

from gridtally_cloud.store.base import Key, metadata

meter_lot = Table(
    "meter_lot", metadata,
    Column("meter_no", Key, ForeignKey("meter.meter_no"), primary_key=True),
    Column("lot", Text, nullable=False, index=True),
)  # fmt: skip
