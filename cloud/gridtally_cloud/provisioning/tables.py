"""Tables of provisioning: the inventory, challenges given, certificates issued, and the boxes that were refused."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, Table, Text

from gridtally_cloud.store.base import Ms, metadata

inventory = Table(
    "inventory", metadata,
    Column("serial", Text, primary_key=True),
    Column("dcu", Text, nullable=False, unique=True),
    Column("install_secret", LargeBinary, nullable=False),
    Column("batch", Text, nullable=False, default=""),
    Column("state", Text, nullable=False, default="expected"),  # expected, pending, active, retired
    Column("added_ms", Ms, nullable=False),
)  # fmt: skip

challenge = Table(
    "provision_challenge", metadata,
    Column("client_id", Text, primary_key=True),
    Column("request_id", LargeBinary, nullable=False),
    Column("serial", Text, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("expires_ms", Ms, nullable=False),
)  # fmt: skip

certificate = Table(
    "device_certificate", metadata,
    Column("key_hash", LargeBinary, primary_key=True),
    Column("serial", Text, nullable=False, index=True),
    Column("dcu", Text, nullable=False),
    Column("journal_key", LargeBinary, nullable=False),
    Column("pem", LargeBinary),
    Column("state", Text, nullable=False),  # pending, active, revoked
    Column("token", LargeBinary, nullable=False),
    Column("token_expires_ms", Ms, nullable=False),
    Column("not_after_ms", Ms, nullable=False),
    Column("issued_ms", Ms, nullable=False),
)  # fmt: skip

attempt = Table(
    "provision_attempt", metadata,
    Column("attempt_no", Integer, primary_key=True),
    Column("serial", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Index("ix_provision_attempt_serial_at", "serial", "at_ms"),
)  # fmt: skip

refused_box = Table(
    "refused_box", metadata,
    Column("serial", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("first_ms", Ms, nullable=False),
    Column("last_ms", Ms, nullable=False),
    Column("count", Integer, nullable=False),
)  # fmt: skip
