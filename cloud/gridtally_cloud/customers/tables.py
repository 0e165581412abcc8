"""Tables of people and accounts. `account` is the service agreement that the configuration of an edge is made from.

* A session is kept as the SHA-256 of its token; the token itself is only in the browser.
* `audit_row` is append-only: who did what to what, no secrets.
* `protected_hours` and `holds` are lists written as text with a comma between the items.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from gridtally_cloud.store.base import Blob, Key, Ms, Nano, Number, metadata

customer = Table(
    "customer", metadata,
    Column("customer_no", Key, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, default=""),
    Column("phone", Text, nullable=False, default=""),
    Column("address", Text, nullable=False, default=""),
    Column("language", Text, nullable=False, default="en"),
    Column("external_ref", Text, unique=True),
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip

app_user = Table(
    "app_user", metadata,
    Column("user_id", Key, primary_key=True),
    Column("login", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),  # consumer, desk, operations, admin
    Column("password_hash", Text, nullable=False),
    Column("language", Text, nullable=False, default="en"),
    Column("active", Boolean, nullable=False, default=True),
    Column("must_change", Boolean, nullable=False, default=False),
    Column("customer_no", Key, ForeignKey("customer.customer_no"), index=True),
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip

login_attempt = Table(
    "login_attempt", metadata,
    Column("attempt_no", Key, primary_key=True),
    Column("login", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("good", Boolean, nullable=False),
    Index("ix_login_attempt_login", "login", "at_ms"),
    Index("ix_login_attempt_source", "source", "at_ms"),
)  # fmt: skip

web_session = Table(
    "web_session", metadata,
    Column("session_no", Key, primary_key=True),
    Column("token_hash", Blob, nullable=False, unique=True),
    Column("user_id", Key, ForeignKey("app_user.user_id"), nullable=False, index=True),
    Column("created_ms", Ms, nullable=False),
    Column("seen_ms", Ms, nullable=False),
    Column("ended_ms", Ms),
    Column("source", Text, nullable=False),
    Column("agent", Text, nullable=False),
)  # fmt: skip

audit_row = Table(
    "audit_row", metadata,
    Column("audit_no", Key, primary_key=True),
    Column("at_ms", Ms, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False, default=""),
    Index("ix_audit_row_subject", "subject", "at_ms"),
)  # fmt: skip

tariff_version = Table(
    "tariff_version", metadata,
    Column("tariff_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("from_ms", Ms, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
    UniqueConstraint("tariff_id", "from_ms"),
)  # fmt: skip

account = Table(
    "account", metadata,
    Column("account_no", Key, primary_key=True),
    Column("customer_no", Key, ForeignKey("customer.customer_no"), nullable=False, index=True),
    Column("usage_point_no", Key, ForeignKey("usage_point.usage_point_no"), nullable=False, index=True),
    Column("meter_no", Key, ForeignKey("meter.meter_no"), nullable=False, index=True),
    Column("mode", Text, nullable=False),  # prepaid, postpaid
    Column("tariff_id", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("language", Text, nullable=False, default="en"),
    Column("label", Text, nullable=False, default=""),
    Column("account_epoch", Number, nullable=False, default=1),
    Column("low_balance_nano", Nano, nullable=False),
    Column("zero_action", Text, nullable=False, default="none"),  # none, disconnect
    Column("offline_cut", Text, nullable=False, default="never"),  # never, grace, allowed
    Column("offline_grace_h", Integer, nullable=False, default=0),
    Column("protected_hours", Text, nullable=False, default=""),
    Column("holds", Text, nullable=False, default=""),
    Column("restore_min_nano", Nano, nullable=False, default=1),
    Column("arm_only", Boolean, nullable=False, default=False),
    Column("notice_lead_s", Integer, nullable=False, default=0),
    Column("pin_hash", Text, nullable=False, default=""),
    Column("opened_ms", Ms, nullable=False),
    Column("closed_ms", Ms),
)  # fmt: skip
