"""Tables of calendars: the versions of each region's calendar, and which account goes by which.

* A version is added, never changed. An account without a row goes by what its concentrator knows of its time zone.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gridtally_cloud.store.base import Key, Ms, Number, metadata

calendar_version = Table(
    "calendar_version", metadata,
    Column("calendar_id", Text, primary_key=True),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("from_ms", Ms, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip

account_calendar = Table(
    "account_calendar", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("calendar_id", Text, nullable=False),
    Column("since_ms", Ms, nullable=False),
)  # fmt: skip
