"""Tables of new prices on their way to consumers, and of what consumers did with their messages.

* `price_notice`: one row for an account and a version of its tariff. Told, in force and viewed are facts of their own, each with its
  time; viewed is a word of the consumer to the message (`notice_word`).
* `notice_word`: each word once, with its first time and where it was said. `ref` names the message: epoch and number of its journal
  entry, or 'told/' and the number of a message of the cloud's own.
* `price_refused`: a version a concentrator did not take.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from gridtally_cloud.store.base import Key, Ms, metadata

price_notice = Table(
    "price_notice", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("tariff_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("ref", Text, nullable=False, default=""),  # of the message that told it
    Column("told_ms", Ms),
    Column("in_force_ms", Ms),
    Index("ix_price_notice_version", "tariff_id", "version"),
)  # fmt: skip

notice_word = Table(
    "notice_word", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("ref", Text, primary_key=True),
    Column("word", Text, primary_key=True),  # read, saved, deleted
    Column("at_ms", Ms, nullable=False),
    Column("place", Text, nullable=False),  # display, portal
)  # fmt: skip

price_refused = Table(
    "price_refused", metadata,
    Column("dcu", Text, primary_key=True),
    Column("tariff_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", Ms, nullable=False),
    Column("fault", Text, nullable=False),
    Column("detail", Text, nullable=False),
)  # fmt: skip
