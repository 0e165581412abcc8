"""Tables of files in and out.

* `exchange_file` has a row for each file of the watched folder, from the moment it was taken up. The row's result is written in the
  transaction that takes the file's values; `moved_ms` says that file and report are where they belong.
* `exchange_run` has a row for each run of a schedule, keyed by the local day it is due on: no run is done twice.
* `missing_day` has a row for each usage point whose day did not stand when its run passed it; `sent_ms`: when it went out later.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, false

from gridtally_cloud.store.base import Key, Ms, Number, metadata

exchange_file = Table(
    "exchange_file", metadata,
    Column("file_no", Key, primary_key=True),
    Column("source", Text, nullable=False),  # folder within the watched one, empty for itself
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256 of its bytes
    Column("size", Number, nullable=False),
    Column("state", Text, nullable=False),  # working, taken, refused
    Column("tries", Integer, nullable=False),
    Column("report", Text, nullable=False, default=""),
    Column("added", Number, nullable=False, default=0),
    Column("conflicts", Number, nullable=False, default=0),
    Column("seen_ms", Ms, nullable=False),
    Column("done_ms", Ms),
    Column("moved_ms", Ms),
    Index("ix_exchange_file_moved", "moved_ms"),
)  # fmt: skip

exchange_schedule = Table(
    "exchange_schedule", metadata,
    Column("name", Text, primary_key=True),
    Column("format", Text, nullable=False),
    Column("points", Text, nullable=False),  # numbers separated by spaces; empty for all
    Column("quantities", Text, nullable=False),  # names separated by spaces; empty for all the format carries
    Column("every", Text, nullable=False),  # day, month
    Column("minute", Integer, nullable=False),  # of the local day
    Column("zone", Text, nullable=False),
    Column("ago", Integer, nullable=False),  # days between the end of the data and the day of the run
    Column("folder", Text, nullable=False),  # empty where a recipient is named
    Column("by_label", Boolean, nullable=False),  # files name usage points by label, where they have one
    Column("made_ms", Ms, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("recipient", Text, nullable=False, server_default=""),  # whose addresses the files go to (recipient_tables.py)
    Column("kind", Text, nullable=False, server_default="profile"),  # reads, intervals, profile
    Column("sender", Text, nullable=False, server_default=""),  # DUNS number with which the market's file names begin
    Column("validated", Boolean, nullable=False, server_default=false()),  # only days VEE lets stand
)  # fmt: skip

exchange_run = Table(
    "exchange_run", metadata,
    Column("name", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),  # working, done, failed
    Column("owner", Text, nullable=False, default=""),
    Column("until_ms", Ms, nullable=False),  # the owner's, while working; when to try again, after a failure
    Column("part", Integer, nullable=False, default=0),  # steps taken
    Column("files", Integer, nullable=False, default=0),
    Column("after_zone", Text, nullable=False, default=""),
    Column("after_point", Key, nullable=False, default=0),
    Column("intervals", Number, nullable=False, default=0),
    Column("reason", Text, nullable=False, default=""),
    Column("at_ms", Ms, nullable=False),
)  # fmt: skip

missing_day = Table(
    "missing_day", metadata,
    Column("schedule", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # of the data
    Column("usage_point_no", Key, primary_key=True, autoincrement=False),
    Column("noted_ms", Ms, nullable=False),
    Column("sent_ms", Ms),
)  # fmt: skip
