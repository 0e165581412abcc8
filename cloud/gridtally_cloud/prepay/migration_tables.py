"""The table of migrations: an account on its way from bills to prepayment or back, step by step (BYPL-13, BYPL-14)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from gridtally_cloud.store.base import Key, Ms, Nano, metadata

mode_migration = Table(
    "mode_migration", metadata,
    Column("migration_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("to_mode", Text, nullable=False),
    Column("profile", Text, nullable=False),  # JSON: policy_id, tariff_id, low_balance, deposit
    Column("deposit_nano", Nano, nullable=False, default=0),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("order_no", Key),  # the installation it waits for
    Column("gseq", BigInteger),  # the engineering token
    Column("asked_by", Text, nullable=False),
    Column("asked_ms", Ms, nullable=False),
    Column("state_ms", Ms, nullable=False),
    Column("changed_ms", Ms),  # of the reading that closes one way and opens the other
    Column("changed_wh", BigInteger),
    Column("balance_nano", Nano),  # what was carried over
    Column("idempotency_key", Text, unique=True),
    Index("ix_mode_migration_account", "account_no", "asked_ms"),
    Index("ix_mode_migration_state", "state"),
)  # fmt: skip
