"""Tables of recipients: who gets data, at which addresses, what went to each, and what went wrong.

* `delivery` is an outbox: a row for each file and address, written in the transaction of the run that made the file. The file itself is
  kept once, until all its deliveries are taken.
* `delivery_error` is the record of errors: the same thing is recorded once for each recipient, (recipient, type, ref) is unique.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from gridtally_cloud.store.base import Blob, Key, Ms, Number, metadata

recipient = Table(
    "recipient", metadata,
    Column("name", Text, primary_key=True),
    Column("made_ms", Ms, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("ended_ms", Ms),
)  # fmt: skip

recipient_address = Table(
    "recipient_address", metadata,
    Column("address_no", Key, primary_key=True),
    Column("recipient", Text, ForeignKey("recipient.name"), nullable=False),
    Column("target", Text, nullable=False),  # https address, or a folder
    Column("secret", Text, nullable=False),  # of an https address
    Column("attempts", Integer, nullable=False, default=0),  # in a row that did not reach it
    Column("away_ms", Ms),  # since when it can not be reached
    UniqueConstraint("recipient", "target"),
)  # fmt: skip

delivery_file = Table(
    "delivery_file", metadata,
    Column("file_no", Key, primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("kind", Text, nullable=False),  # data, notice
    Column("name", Text, nullable=False),
    Column("media", Text, nullable=False),
    Column("body", Blob, nullable=False),  # empty once everybody has it
    Column("size", Number, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256
    Column("made_ms", Ms, nullable=False),
)  # fmt: skip

delivery = Table(
    "delivery", metadata,
    Column("delivery_no", Key, primary_key=True),
    Column("file_no", Key, ForeignKey("delivery_file.file_no"), nullable=False),
    Column("address_no", Key, ForeignKey("recipient_address.address_no"), nullable=False),
    Column("state", Text, nullable=False),  # waiting, taken, dead
    Column("fault", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_ms", Ms, nullable=False),
    Column("made_ms", Ms, nullable=False),
    Column("taken_ms", Ms),
    UniqueConstraint("file_no", "address_no"),
    Index("ix_delivery_due", "state", "next_ms"),
)  # fmt: skip

delivery_error = Table(
    "delivery_error", metadata,
    Column("error_no", Key, primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("type", Text, nullable=False),  # not_registered, not_recorded, not_sent, given_up, not_valid, missing_day
    Column("ref", Text, nullable=False),  # event:7, delivery:12, request:...
    Column("detail", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    UniqueConstraint("recipient", "type", "ref"),
)  # fmt: skip
