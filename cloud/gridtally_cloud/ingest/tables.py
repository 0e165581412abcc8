"""Tables of what an edge sends beside its journal: checkpoints to be countersigned, asks for the next chunk of a wallet.

* A checkpoint is `waiting` until the mirror reaches it, then `good` (with the replayed state at that entry, from which the
  next one is checked) or `mismatch`. Only good ones are countersigned.
* Of the forecasts of time left only the newest of each account is kept.
* A lease ask is kept once by its number; `settled_ms` is set by whoever grants or refuses it.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, Nano, Number, metadata, shard_column

checkpoint = Table(
    "checkpoint", metadata,
    shard_column(),
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, primary_key=True, autoincrement=False),
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("dcu", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, good, mismatch
    Column("payload", Blob, nullable=False),
    Column("envelope", Blob, nullable=False),
    Column("ledger_state", Blob),
    Column("received_ms", Ms, nullable=False),
    Column("settled_ms", Ms),
    sqlite_with_rowid=False,
)  # fmt: skip

time_left = Table(
    "time_left", metadata,
    shard_column(),
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, nullable=False),
    Column("as_of_ms", Ms, nullable=False),
    Column("balance_nano", Nano, nullable=False),
    Column("central_ms", Ms),
    Column("cautious_ms", Ms),
    Column("basis", Text, nullable=False),
    Column("received_ms", Ms, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

lease_ask = Table(
    "lease_ask", metadata,
    shard_column(),
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, primary_key=True, autoincrement=False),
    Column("number", Number, primary_key=True, autoincrement=False),
    Column("dcu", Text, nullable=False),
    Column("remaining_nano", Nano, nullable=False),
    Column("asked_ms", Ms, nullable=False),
    Column("received_ms", Ms, nullable=False),
    Column("settled_ms", Ms),
    Index("ix_lease_ask_open", "shard", "settled_ms"),
    sqlite_with_rowid=False,
)  # fmt: skip
