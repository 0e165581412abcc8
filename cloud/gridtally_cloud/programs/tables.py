"""Tables of prepayment schedules: programme A time frames at one's own supply, programme B events at another's.

* `schedule.cmd_id` is the signed command that carries it now; a change is a new command under the same schedule.
* `schedule_posting` is the double entry of an event's money: the rows of one `kind` of one schedule sum to zero, and each
  kind is booked once. `holder` is 'requester:<account>', 'event:<schedule>', 'energy:<schedule>' or 'payment:<reference>'.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, Nano, Wh, metadata

schedule = Table(
    "schedule", metadata,
    Column("schedule_no", Key, primary_key=True),
    Column("programme", Text, nullable=False),  # A, B
    Column("meter_no", Key, nullable=False),
    Column("account_no", Key, nullable=False),  # behind the meter
    Column("requester_no", Key, nullable=False),  # who pays; the same with programme A
    Column("title", Text, nullable=False, default=""),
    Column("zone", Text, nullable=False),
    Column("start_ms", Ms, nullable=False),
    Column("end_ms", Ms, nullable=False),
    Column("windows", Blob, nullable=False, default=b""),  # CBOR list of (weekdays, from minute, to minute)
    Column("action", Integer, nullable=False),
    Column("currency", Text, nullable=False),
    Column("credit_nano", Nano, nullable=False, default=0),
    Column("credit_wh", Wh, nullable=False, default=0),
    Column("state", Text, nullable=False),  # open, settled
    Column("state_at_ms", Ms, nullable=False),
    Column("cmd_id", Blob, index=True),
    Column("spent_nano", Nano),
    Column("spent_wh", Wh),
    Column("created_by", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("idempotency_key", Text, unique=True),
    Index("ix_schedule_meter", "meter_no", "end_ms"),
    Index("ix_schedule_requester", "requester_no", "created_ms"),
)  # fmt: skip

schedule_posting = Table(
    "schedule_posting", metadata,
    Column("schedule_no", Key, ForeignKey("schedule.schedule_no"), primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),  # funding, energy, return, overrun
    Column("holder", Text, primary_key=True),
    Column("amount_nano", Nano, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("reference", Text, nullable=False, default=""),
)  # fmt: skip

event_site = Table(
    "event_site", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("by", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
)  # fmt: skip

command_priority = Table(
    "command_priority", metadata,
    Column("type", Integer, primary_key=True, autoincrement=False),
    Column("priority", Integer, nullable=False),
    Column("by", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
)  # fmt: skip
