"""Tables of messages that leave the house, of what a household chose to be told by, and of proofs of identity.

* `consumer_message` is an outbox: a row is written in the transaction of what led to it, and its text is never changed after.
* The same thing is told once by each channel: (account, code, ref, channel) is unique.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, UniqueConstraint

from gridtally_cloud.store.base import Key, Ms, metadata

consumer_message = Table(
    "consumer_message", metadata,
    Column("message_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("code", Text, nullable=False),
    Column("params", Text, nullable=False, default="[]"),  # JSON: [[name, value], ...]
    Column("ref", Text, nullable=False),  # what it is about
    Column("channel", Text, nullable=False),  # sms, email, log
    Column("address", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, sent, failed, expired
    Column("via", Text, nullable=False, default=""),  # which sender took it: smtp, file
    Column("fault", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_ms", Ms, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("sent_ms", Ms),
    UniqueConstraint("account_no", "code", "ref", "channel"),
    Index("ix_consumer_message_due", "state", "next_ms"),
)  # fmt: skip

contact_choice = Table(
    "contact_choice", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("channel", Text, primary_key=True),
    Column("wanted", Boolean, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("changed_ms", Ms, nullable=False),
)  # fmt: skip

identity_check = Table(
    "identity_check", metadata,
    Column("check_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("good", Boolean, nullable=False),
    Index("ix_identity_check_account", "account_no", "at_ms"),
)  # fmt: skip
