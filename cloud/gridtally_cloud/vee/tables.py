"""Tables of VEE beside its runs and findings: rule sets, classes of usage points, edits, and what was restated.

* `vee_rule_set` keeps each document as it was loaded; a version is never changed.
* `vee_edit` is append-only but for its state. Its values are a packed block; what was measured is never touched.
* `vee_restated` says of each change to what stood for a billed period what it was before and after.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from gridtally_cloud.store.base import SHARD, Blob, Key, Ms, Number, metadata

vee_rule_set = Table(
    "vee_rule_set", metadata,
    Column("class_name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("from_day", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_ms", Ms, nullable=False),
)  # fmt: skip

vee_point = Table(
    "vee_point", metadata,
    Column("usage_point_no", Key, primary_key=True, autoincrement=False),
    Column("class_name", Text, nullable=False, default=""),
    Column("check_point_no", Key),  # where the check meter is
    Column("irregular_until_day", Integer),
    Column("changed_by", Text, nullable=False),
    Column("changed_ms", Ms, nullable=False),
)  # fmt: skip

vee_edit = Table(
    "vee_edit", metadata,
    Column("edit_no", Key, primary_key=True),
    Column("shard", Integer, nullable=False, default=SHARD),
    Column("channel_no", Key, nullable=False),
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms, nullable=False),
    Column("period_s", Integer, nullable=False),
    Column("n", Integer, nullable=False),
    Column("blob", Blob, nullable=False),
    Column("quality", Blob, nullable=False),
    Column("measured", Blob, nullable=False),  # what had been measured, to see when something else comes
    Column("tool", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("note", Text, nullable=False, default=""),
    Column("ticket", Text, nullable=False, default=""),
    Column("old_total", Number, nullable=False),
    Column("new_total", Number, nullable=False),
    Column("bills", Text, nullable=False, default=""),  # numbers of bills that cover it, separated by spaces
    Column("state", Text, nullable=False),  # proposed, applied, refused, undone
    Column("made_by", Text, nullable=False),
    Column("made_ms", Ms, nullable=False),
    Column("decided_by", Text, nullable=False, default=""),
    Column("decided_ms", Ms),
    Index("ix_vee_edit_channel", "shard", "channel_no", "from_ms"),
)  # fmt: skip

vee_restated = Table(
    "vee_restated", metadata,
    Column("restated_no", Key, primary_key=True),
    Column("shard", Integer, nullable=False, default=SHARD),
    Column("channel_no", Key, nullable=False),
    Column("day", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms, nullable=False),
    Column("old_total", Number, nullable=False),
    Column("new_total", Number, nullable=False),
    Column("bills", Text, nullable=False),
    Column("at_ms", Ms, nullable=False),
    Index("ix_vee_restated_channel", "shard", "channel_no", "from_ms"),
)  # fmt: skip
