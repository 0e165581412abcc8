"""Tables of webhooks: who wants to be told what, and every notice with how far it is.

* `webhook_notice` is an outbox: a row is written in the transaction of what it tells, and its body is never changed after.
* The same thing is told once to each receiver: (webhook_no, topic, ref) is unique.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from gridtally_cloud.store.base import Key, Ms, metadata

webhook = Table(
    "webhook", metadata,
    Column("webhook_no", Key, primary_key=True),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("topics", Text, nullable=False),  # separated by spaces
    Column("secret", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("ended_ms", Ms),
    Column("attempts", Integer, nullable=False, default=0, server_default="0"),  # since it was reached last
    Column("next_ms", Ms, nullable=False, default=0, server_default="0"),  # left alone until then
)  # fmt: skip

webhook_notice = Table(
    "webhook_notice", metadata,
    Column("notice_no", Key, primary_key=True),
    Column("webhook_no", Key, ForeignKey("webhook.webhook_no"), nullable=False),
    Column("topic", Text, nullable=False),
    Column("ref", Text, nullable=False),  # what it is about
    Column("body", Text, nullable=False),  # JSON, as it is signed and sent
    Column("state", Text, nullable=False),  # waiting, taken, dead
    Column("fault", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_ms", Ms, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("taken_ms", Ms),
    UniqueConstraint("webhook_no", "topic", "ref"),
    Index("ix_webhook_notice_due", "state", "next_ms"),
)  # fmt: skip
