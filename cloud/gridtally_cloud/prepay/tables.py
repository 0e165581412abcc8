"""Tables of money on its way in: orders, payments, refunds, instruments.

* `payment` is unique by (gateway, gateway_ref): that is what makes a capture happen once.
* `instrument` is keyed by (account, epoch, gseq); `previous` chains it to the one before by the hash of its payload.
* Rows here are only inserted; what changes is `payment_order.state`, by the table in `orders.py`, and a refund's
  `gateway_ref`, once the gateway has taken it.
* The `test_gateway_*` tables belong to the built-in test gateway: they are what a bank would hold, and nothing of ours reads
  them but the gateway itself.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from gridtally_cloud.store.base import Blob, Key, Ms, Nano, Number, metadata, shard_column

payment_order = Table(
    "payment_order", metadata,
    Column("order_id", Text, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("bill_no", Text, nullable=False, default=""),
    Column("amount_nano", Nano, nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),  # created, paid, failed, expired
    Column("reason", Text, nullable=False, default=""),
    Column("gateway", Text, nullable=False),
    Column("gateway_order", Text, nullable=False),
    Column("pay_path", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("state_ms", Ms, nullable=False),
    UniqueConstraint("gateway", "gateway_order"),
    Index("ix_payment_order_account", "account_no", "created_ms"),
)  # fmt: skip

gateway_event = Table(
    "gateway_event", metadata,
    Column("gateway", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("gateway_order", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("body", Blob, nullable=False),
    Column("received_ms", Ms, nullable=False),
)  # fmt: skip

payment = Table(
    "payment", metadata,
    Column("payment_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("order_id", Text, nullable=False, default=""),
    Column("purpose", Text, nullable=False),  # credit: becomes an instrument; bill: went to the receivables
    Column("bill_no", Text, nullable=False, default=""),
    Column("amount_nano", Nano, nullable=False),
    Column("currency", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("gateway_ref", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("captured_ms", Ms, nullable=False),
    UniqueConstraint("gateway", "gateway_ref"),
    Index("ix_payment_account", "account_no", "captured_ms"),
)  # fmt: skip

refund = Table(
    "refund", metadata,
    Column("refund_no", Key, primary_key=True),
    Column("payment_no", Key, ForeignKey("payment.payment_no"), nullable=False, index=True),
    Column("amount_nano", Nano, nullable=False),
    Column("gateway_ref", Text, nullable=False, default=""),  # '' until the gateway has taken it
    Column("actor", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
)  # fmt: skip

instrument = Table(
    "instrument", metadata,
    shard_column(),
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, primary_key=True, autoincrement=False),
    Column("gseq", Number, primary_key=True, autoincrement=False),
    Column("dcu", Text, nullable=False),
    Column("type", Integer, nullable=False),
    Column("amount_nano", Nano, nullable=False),
    Column("currency", Text, nullable=False),
    Column("payment_no", Key, index=True),
    Column("refund_no", Key),
    Column("issued_ms", Ms, nullable=False),
    Column("payload_hash", Blob, nullable=False),
    Column("envelope", Blob, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

test_gateway_order = Table(
    "test_gateway_order", metadata,
    Column("gateway_order", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("amount_nano", Nano, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("paid_ref", Text),
)  # fmt: skip

test_gateway_event = Table(
    "test_gateway_event", metadata,
    Column("event_id", Text, primary_key=True),
    Column("gateway_order", Text, nullable=False, index=True),
    Column("body", Blob, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("delivered_ms", Ms),
)  # fmt: skip
