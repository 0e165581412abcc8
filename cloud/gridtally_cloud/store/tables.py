"""Tables of readings, commands and everything that crosses the MQTT contract.

* Hot tables carry `shard` first in their key; no foreign key crosses shards (mdm.md F.3).
* Times are milliseconds UTC (`_ms`), `day` is the local day of the usage point's zone as days since 1970-01-01.
* Interval values are integers of the channel's unit times 10^exponent. Version 0 of a block is raw and never altered.
* Idempotency: (dcu, stream_id, lane, seq) is the only key; `stream_head.upto` says how far it is contiguous,
  `inbox_seen` holds what arrived above it (architecture.md section 4).
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from gridtally_cloud.store.base import SHARD, Blob, Key, Ms, Nano, Number, Wh, metadata, shard_column
from gridtally_cloud.store.coded import Coded

store_meta = Table(
    "store_meta", metadata,
    Column("name", Text, primary_key=True),
    Column("value", Blob, nullable=False),
)  # fmt: skip

# ---- assets ---------------------------------------------------------------------------------------------------

dcu = Table(
    "dcu", metadata,
    Column("dcu", Text, primary_key=True),
    Column("serial", Text, unique=True),
    Column("label", Text, nullable=False, default=""),
    Column("site", Text, nullable=False, default=""),
    Column("state", Text, nullable=False, default="planned"),  # planned, enrolled, active, retired
    Column("journal_key", Blob),
    Column("online", Boolean, nullable=False, default=False),
    Column("boot_id", Blob),
    Column("agent_version", Text, nullable=False, default=""),
    Column("clock_state", Integer),
    Column("config_held", Number, nullable=False, default=0),
    Column("last_hello_ms", Ms),
    Column("last_contact_ms", Ms),
    Column("created_ms", Ms, nullable=False),
    Column("cut_share_per_hour_permille", Integer, nullable=False, default=100),
)  # fmt: skip

usage_point = Table(
    "usage_point", metadata,
    Column("usage_point_no", Key, primary_key=True),
    Column("label", Text, nullable=False, default=""),
    Column("address", Text, nullable=False, default=""),
    Column("zone", Text, nullable=False, default="UTC"),
    Column("commodity", Text, nullable=False, default="electricity"),
    Column("limit_w", Number, nullable=False, default=11_000),
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip

meter = Table(
    "meter", metadata,
    Column("meter_no", Key, primary_key=True),
    Column("serial", Text, nullable=False, unique=True),
    Column("driver", Text, nullable=False, default=""),
    Column("dcu", Text, ForeignKey("dcu.dcu"), index=True),
    Column("usage_point_no", Key, ForeignKey("usage_point.usage_point_no"), index=True),
    Column("commodity", Text, nullable=False, default="electricity"),
    Column("interval_s", Integer, nullable=False, default=900),
    Column("register_step_wh", Number, nullable=False, default=1),
    Column("register_end_wh", Number, nullable=False, server_default="0"),  # the first number its register can not show; 0: not known
    Column("label", Text, nullable=False, default=""),
    Column("installed_ms", Ms, nullable=False),
    Column("removed_ms", Ms),
)  # fmt: skip

channel = Table(
    "channel", metadata,
    Column("channel_no", Key, primary_key=True),
    Column("usage_point_no", Key, ForeignKey("usage_point.usage_point_no"), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("direction", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("exponent", Integer, nullable=False),
    Column("period_s", Integer, nullable=False),
    UniqueConstraint("usage_point_no", "quantity", "period_s"),
)  # fmt: skip

meter_seen = Table(
    "meter_seen", metadata,
    Column("dcu", Text, primary_key=True),
    Column("serial", Text, primary_key=True),
    Column("line", Text, nullable=False),
    Column("driver", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("first_seen_ms", Ms, nullable=False),
    Column("last_seen_ms", Ms, nullable=False),
    Column("state", Text, nullable=False, default="proposed"),  # proposed, adopted, ignored
)  # fmt: skip

config_version = Table(
    "config_version", metadata,
    Column("dcu", Text, primary_key=True),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("digest", Blob, nullable=False),
    Column("envelope", Blob, nullable=False),
    Column("issued_at_ms", Ms, nullable=False),
    Column("held_at_ms", Ms),
)  # fmt: skip

# ---- measured values ------------------------------------------------------------------------------------------

interval_inbox = Table(
    "interval_inbox", metadata,
    Column("inbox_no", Key, primary_key=True),
    Column("shard", Integer, nullable=False, default=SHARD),
    Column("day", Integer, nullable=False),  # a row never spans two local days
    Column("channel_no", Key, nullable=False),
    Column("meter_no", Key, nullable=False),
    Column("start_ms", Ms, nullable=False),
    Column("period_s", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("blob", Blob, nullable=False),
    Column("quality", Blob, nullable=False, default=b""),
    Column("conflict", Boolean, nullable=False, default=False),
    Column("received_ms", Ms, nullable=False),
    Index("ix_interval_inbox_day", "shard", "day", "channel_no"),
)  # fmt: skip

SOURCE = Coded("raw", "late", "conflict", "estimate", "edit", "silent")
PERIOD = Coded(900, 1800, 3600, 300, 600, 60)

interval_block = Table(  # what its columns mean: store/blocks.py
    "interval_block", metadata,
    shard_column(),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("channel_no", Key, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("first_no", Integer, nullable=False),
    Column("period_s", PERIOD, nullable=False),
    Column("created_s", Integer, nullable=False),
    Column("source", SOURCE, nullable=False),
    Column("blob", Blob, nullable=False),
    Column("quality", Blob, nullable=False, default=b""),
    sqlite_with_rowid=False,
)  # fmt: skip

usage_day = Table(
    "usage_day", metadata,
    shard_column(),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("channel_no", Key, primary_key=True, autoincrement=False),
    Column("total", Number, nullable=False),
    Column("present", Integer, nullable=False),
    Column("expected", Integer, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

usage_month = Table(  # the sums of its days: store/totals.py
    "usage_month", metadata,
    shard_column(),
    Column("month", Integer, primary_key=True, autoincrement=False),  # months since January 1970
    Column("channel_no", Key, primary_key=True, autoincrement=False),
    Column("total", Number, nullable=False),
    Column("days", Integer, nullable=False),
    Column("present", Integer, nullable=False),
    Column("expected", Integer, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

reading = Table(
    "reading", metadata,
    shard_column(),
    Column("meter_no", Key, primary_key=True, autoincrement=False),
    Column("quantity", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", Ms, primary_key=True, autoincrement=False),
    Column("value", Number, nullable=False),
    Column("quality", Integer, nullable=False, default=0),
    sqlite_with_rowid=False,
)  # fmt: skip

reading_latest = Table(
    "reading_latest", metadata,
    shard_column(),
    Column("meter_no", Key, primary_key=True, autoincrement=False),
    Column("quantity", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", Ms, nullable=False),
    Column("value", Number, nullable=False),
    Column("quality", Integer, nullable=False, default=0),
    sqlite_with_rowid=False,
)  # fmt: skip

event = Table(
    "event", metadata,
    Column("event_no", Key, primary_key=True),
    Column("shard", Integer, nullable=False, default=SHARD),
    Column("dcu", Text, nullable=False),
    Column("meter_no", Key, nullable=False),
    Column("code", Integer, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("detail", Text, nullable=False, default=""),
    Column("received_ms", Ms, nullable=False),
    UniqueConstraint("shard", "dcu", "meter_no", "at_ms", "code", "detail"),
    Index("ix_event_meter", "shard", "meter_no", "at_ms"),
    Index("ix_event_time", "shard", "at_ms"),
)  # fmt: skip

meter_status = Table(
    "meter_status", metadata,
    shard_column(),
    Column("meter_no", Key, primary_key=True, autoincrement=False),
    Column("at_ms", Ms, nullable=False),
    Column("answering", Boolean, nullable=False),
    Column("switch", Integer, nullable=False),
    Column("clock_offset_ms", Ms, nullable=False, default=0),
    Column("received_ms", Ms, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

# ---- streams --------------------------------------------------------------------------------------------------

stream_head = Table(
    "stream_head", metadata,
    shard_column(),
    Column("dcu", Text, primary_key=True),
    Column("stream_id", Blob, primary_key=True),
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("upto", Number, nullable=False),
    Column("highest", Number, nullable=False),
    Column("first_seen_ms", Ms, nullable=False),
    Column("updated_ms", Ms, nullable=False),
    Column("retired", Boolean, nullable=False, default=False),
    Column("mark", Blob),  # of the entry `upto` (contract/marks.py)
    sqlite_with_rowid=False,
)  # fmt: skip

inbox_seen = Table(
    "inbox_seen", metadata,
    shard_column(),
    Column("dcu", Text, primary_key=True),
    Column("stream_id", Blob, primary_key=True),
    Column("lane", Integer, primary_key=True, autoincrement=False),
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("mark", Blob),
    sqlite_with_rowid=False,
)  # fmt: skip

poison = Table(
    "poison", metadata,
    Column("poison_no", Key, primary_key=True),
    Column("dcu", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("stream_id", Blob),
    Column("lane", Integer),
    Column("seq", Number),
    Column("kind", Integer),
    Column("reason", Text, nullable=False),
    Column("payload", Blob, nullable=False),
    Column("payload_bytes", Integer, nullable=False),
    Column("digest", Blob, nullable=False, unique=True),  # the same message again only counts up
    Column("times", Integer, nullable=False, default=1),
    Column("at_ms", Ms, nullable=False),
    Column("last_ms", Ms, nullable=False),
    Column("resolved_ms", Ms),
    Column("resolved_by", Text),
    Index("ix_poison_at_ms", "at_ms"),
)  # fmt: skip

# ---- account journal mirror -----------------------------------------------------------------------------------

journal_entry = Table(
    "journal_entry", metadata,
    shard_column(),
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, primary_key=True, autoincrement=False),
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("kind", Integer, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("paid_nano", Nano, nullable=False),  # what the entry adds to the consumer's balance
    Column("balance_nano", Nano),  # balance after the entry, once verified
    Column("gseq", Number, nullable=False, default=0),
    Column("body", Blob, nullable=False),
    Column("verified", Boolean, nullable=False, default=False),
    Column("dcu", Text, nullable=False),
    Column("received_ms", Ms, nullable=False),
    # which entry used an instrument (CREDIT, REFUND); a query must name the kinds literally, or the planner passes it over
    Index("ix_journal_entry_gseq", "gseq", "account_no", "epoch", sqlite_where=text("kind IN (2, 6)")),
    # which entry used an instrument of any kind; the same holds for `gseq <> 0`
    Index("ix_journal_entry_used", "account_no", "epoch", "gseq", sqlite_where=text("gseq <> 0")),
    sqlite_with_rowid=False,
)  # fmt: skip

account_mirror = Table(
    "account_mirror", metadata,
    shard_column(),
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, primary_key=True, autoincrement=False),
    Column("dcu", Text, nullable=False),
    Column("seq", Number, nullable=False),
    Column("head", Blob, nullable=False),
    Column("balance_nano", Nano, nullable=False),
    Column("gseq_prefix", Number, nullable=False),
    Column("state", Blob, nullable=False),  # ingest/mirror.py: the LedgerState as CBOR
    Column("meter_no", Key, nullable=False),
    Column("register_wh", Wh),
    Column("at_ms", Ms, nullable=False),
    Column("stopped", Boolean, nullable=False, default=False),
    Column("updated_ms", Ms, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip

ledger_problem = Table(
    "ledger_problem", metadata,
    Column("problem_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("epoch", Number, nullable=False),
    Column("seq", Number, nullable=False),
    Column("code", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("body", Blob, nullable=False),
    Column("dcu", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("resolved_ms", Ms),
    Index("ix_ledger_problem_account", "account_no", "epoch"),
)  # fmt: skip

# ---- commands and the way down --------------------------------------------------------------------------------

command = Table(
    "command", metadata,
    Column("cmd_id", Blob, primary_key=True),
    Column("dcu", Text, nullable=False),
    Column("meter_no", Key, nullable=False),
    Column("type", Integer, nullable=False),
    Column("safety", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("counter", Number, nullable=False),
    Column("switch_counter", Number, nullable=False, default=0),
    Column("issued_at_ms", Ms, nullable=False),
    Column("not_before_ms", Ms, nullable=False),
    Column("expires_ms", Ms, nullable=False),
    Column("order_id", Blob, nullable=False),
    Column("from_ms", Ms, nullable=False, default=0),
    Column("to_ms", Ms, nullable=False, default=0),
    Column("text", Text, nullable=False, default=""),
    Column("cause", Text, nullable=False, default=""),
    Column("settings", Blob),  # CBOR list of (kind, body)
    Column("reset", Integer),
    Column("requested_by", Text, nullable=False),
    Column("idempotency_key", Text, unique=True),
    Column("state", Integer, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("result", Blob, nullable=False, default=b""),
    Column("state_at_ms", Ms, nullable=False),
    Column("answered_at_ms", Ms),  # when the last receipt of the edge came in
    Column("detail", Blob),  # what its type needs beside
    Column("target", Blob),  # the command it cancels or takes the place of
    Column("delivered_at_ms", Ms),  # when the first receipt came in
    Column("completed_at_ms", Ms),  # the edge's own time in the receipt that ended it
    Column("ended_at_ms", Ms),  # when that receipt came in
    Index("ix_command_open", "state", "expires_ms"),
    Index("ix_command_meter", "meter_no", "issued_at_ms"),
    Index("ix_command_requested_by", "requested_by", "issued_at_ms"),
)  # fmt: skip

command_log = Table(
    "command_log", metadata,
    Column("log_no", Key, primary_key=True),
    Column("cmd_id", Blob, nullable=False, index=True),
    Column("at_ms", Ms, nullable=False),
    Column("state", Integer, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("by", Text, nullable=False),
)  # fmt: skip

sender_notice = Table(
    "sender_notice", metadata,
    Column("notice_no", Key, primary_key=True),
    Column("to", Text, nullable=False),
    Column("cmd_id", Blob, nullable=False, unique=True),
    Column("state", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("seen_ms", Ms),
    Index("ix_sender_notice_to", "to", "seen_ms"),
)  # fmt: skip

command_counter = Table(
    "command_counter", metadata,
    Column("dcu", Text, primary_key=True),
    Column("key_id", Blob, primary_key=True),
    Column("value", Number, nullable=False),
)  # fmt: skip

switch_counter = Table(
    "switch_counter", metadata,
    Column("meter_no", Key, primary_key=True, autoincrement=False),
    Column("value", Number, nullable=False),
)  # fmt: skip

outbox_down = Table(
    "outbox_down", metadata,
    Column("outbox_no", Key, primary_key=True),
    Column("dcu", Text, nullable=False),
    Column("channel", Text, nullable=False),  # instrument, command, config
    Column("ref", Text, nullable=False),  # command: cmd_id hex; instrument: account/epoch/gseq; config: version
    Column("payload", Blob, nullable=False),  # the envelope as published
    Column("priority", Integer, nullable=False, default=50),
    Column("created_ms", Ms, nullable=False),
    Column("next_send_ms", Ms, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_sent_ms", Ms),
    Column("done_ms", Ms),
    Column("owner", Text),
    Column("lease_until_ms", Ms),
    UniqueConstraint("dcu", "channel", "ref"),
    Index("ix_outbox_down_due", "done_ms", "next_send_ms"),
)  # fmt: skip

# ---- validation -----------------------------------------------------------------------------------------------

STATUS = Coded("pending", "validated", "failed", "estimated", "edited")

vee_run = Table(
    "vee_run", metadata,
    shard_column(),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("channel_no", Key, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),  # of the block that was judged
    Column("rule_set", Text, nullable=False),
    Column("status", STATUS, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("at_ms", Ms, nullable=False),  # of the judgement; 0 while it is pending
    Column("stands", Integer),  # version that stood when it was judged last
    # what waits; a query must name the status literally, or the planner passes it over
    Index("ix_vee_run_pending", "shard", "status", sqlite_where=text("status = 0")),
    sqlite_with_rowid=False,
)  # fmt: skip

vee_order = Table(  # days that were closed together and wait for their first judgement: store/orders.py
    "vee_order", metadata,
    shard_column(),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("first_no", Key, primary_key=True, autoincrement=False),  # channels
    Column("last_no", Key, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)  # fmt: skip

vee_finding = Table(
    "vee_finding", metadata,
    Column("finding_no", Key, primary_key=True),
    Column("shard", Integer, nullable=False, default=SHARD),
    Column("day", Integer, nullable=False),
    Column("channel_no", Key, nullable=False),
    Column("rule", Text, nullable=False),
    Column("rule_version", Integer, nullable=False),
    Column("start_ms", Ms, nullable=False),
    Column("end_ms", Ms, nullable=False),
    Column("value", Number),
    Column("limit", Number),
    Column("text", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Index("ix_vee_finding_day", "shard", "day", "channel_no"),
)  # fmt: skip


def say_to_postgresql() -> None:
    """What PostgreSQL has more: partitions, and the partial indexes of SQLite. Said when such a store is opened, because naming the
    dialect in a table loads it, and its modules take 2 MB."""
    interval_block.dialect_options["postgresql"]["partition_by"] = "RANGE (day)"
    for index in (index for table in metadata.tables.values() for index in table.indexes):
        index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
