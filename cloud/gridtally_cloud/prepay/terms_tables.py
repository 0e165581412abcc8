"""Table of supply terms: what a policy asks of one account's connection. An account without a row has none."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gridtally_cloud.store.base import Key, Ms, Number, metadata

supply_terms = Table(
    "supply_terms", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("feeder", Text, nullable=False),
    Column("contract_w", Number, nullable=False),
    Column("load_class", Text, nullable=False),
    Column("flags", Text, nullable=False),
    Column("changed_ms", Ms, nullable=False),
)  # fmt: skip
