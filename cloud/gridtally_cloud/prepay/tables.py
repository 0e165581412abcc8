"""Tables of money on its way in: orders, payments, refunds, instruments; stored methods, auto-replenish, pay stations.

* `payment` is unique by (gateway, gateway_ref): that is what makes a capture happen once.
* `instrument` is keyed by (account, epoch, gseq); `previous` chains it to the one before by the hash of its payload.
* Rows of money are only inserted; what changes is `payment_order.state`, by the table in `orders.py`, what the gateway calls an order
  (until it has said so: `order_id`) or a refund (`gateway_ref`), once it has taken it, and that a station's payment was reversed.
* `replenish_attempt` is unique by the journal entry of its crossing: that is what makes it happen once.
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
    Column("purpose", Text, nullable=False),  # credit: becomes an instrument; bill: to the receivables; wallet: to a shared one
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

payment_method = Table(
    "payment_method", metadata,
    Column("method_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False, index=True),
    Column("gateway", Text, nullable=False),
    Column("token", Text, nullable=False),  # the gateway's name of a card or mandate; worth nothing anywhere else
    Column("label", Text, nullable=False),  # as the gateway prints it, such as "card ending 4242"
    Column("actor", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("removed_ms", Ms),
    UniqueConstraint("gateway", "token"),
)  # fmt: skip

replenish_rule = Table(
    "replenish_rule", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("method_no", Key, ForeignKey("payment_method.method_no"), nullable=False),
    Column("threshold_nano", Nano, nullable=False),
    Column("amount_nano", Nano, nullable=False),
    Column("month_cap_nano", Nano, nullable=False),
    Column("state", Text, nullable=False),  # active, stopped, off
    Column("reason", Text, nullable=False, default=""),
    Column("consent", Text, nullable=False),  # which wording was agreed to
    Column("consent_by", Text, nullable=False),
    Column("consent_ms", Ms, nullable=False),
    Column("changed_ms", Ms, nullable=False),
)  # fmt: skip

replenish_attempt = Table(
    "replenish_attempt", metadata,
    Column("attempt_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("epoch", Number, nullable=False),
    Column("seq", Number, nullable=False),  # the journal entry that took the balance to the threshold or below
    Column("amount_nano", Nano, nullable=False),
    Column("method_no", Key, nullable=False),
    Column("order_id", Text, nullable=False, default=""),
    Column("state", Text, nullable=False),  # wanted, asking, asked, captured, failed, capped
    Column("reason", Text, nullable=False, default=""),
    Column("at_ms", Ms, nullable=False),
    Column("state_ms", Ms, nullable=False),
    UniqueConstraint("account_no", "epoch", "seq"),  # once per crossing, whoever looks and however often
    Index("ix_replenish_attempt_state", "state"),
)  # fmt: skip

consumer_notice = Table(
    "consumer_notice", metadata,
    Column("notice_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("code", Text, nullable=False),
    Column("params", Text, nullable=False, default="[]"),  # JSON: [[name, value], ...]
    Column("ref", Text, nullable=False),  # what it is about; the same is told once
    Column("at_ms", Ms, nullable=False),
    UniqueConstraint("account_no", "code", "ref"),
)  # fmt: skip

late_credit = Table(
    "late_credit", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, primary_key=True, autoincrement=False),
    Column("gseq", Number, primary_key=True, autoincrement=False),
    Column("level", Text, nullable=False),  # slow, late, overdue: resend.py
    Column("raised_ms", Ms, nullable=False),
    Column("cleared_ms", Ms),
)  # fmt: skip

station_payment = Table(
    "station_payment", metadata,
    Column("payment_no", Key, ForeignKey("payment.payment_no"), primary_key=True, autoincrement=False),
    Column("token_no", Key, nullable=False),
    Column("key", Text, nullable=False),
    Column("day", Text, nullable=False),  # business day of the station, 2026-11-22
    Column("at_ms", Ms, nullable=False),
    Column("reversed_ms", Ms),
    Column("reversal_day", Text),
    Column("reversal_reason", Text),
    Column("refund_no", Key),
    UniqueConstraint("token_no", "key"),
    Index("ix_station_payment_day", "token_no", "day"),
    Index("ix_station_payment_reversal_day", "token_no", "reversal_day"),
)  # fmt: skip

station_day = Table(
    "station_day", metadata,
    Column("token_no", Key, primary_key=True, autoincrement=False),
    Column("day", Text, primary_key=True),
    Column("file", Text, nullable=False),  # as it was given out at the close; never made again
    Column("closed_ms", Ms, nullable=False),
)  # fmt: skip

station_call = Table(
    "station_call", metadata,
    Column("token_no", Key, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("window_ms", Ms, primary_key=True, autoincrement=False),
    Column("calls", Integer, nullable=False),
)  # fmt: skip

test_gateway_method = Table(
    "test_gateway_method", metadata,
    Column("token", Text, primary_key=True),
    Column("choice", Text, nullable=False),  # key of the hosted page's button it stands for
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip
