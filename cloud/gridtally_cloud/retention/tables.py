"""Table of the passes of deletion: of each rule who is at it and how far, so that a pass that was killed goes on."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gridtally_cloud.store.base import Ms, Number, metadata

retention_pass = Table(
    "retention_pass", metadata,
    Column("rule", Text, primary_key=True),
    Column("owner", Text, nullable=False, default=""),
    Column("until_ms", Ms, nullable=False, default=0),  # the owner's
    Column("after", Text, nullable=False, default=""),  # JSON: the last key looked at; empty: no pass is under way
    Column("deleted", Number, nullable=False, default=0),  # rows, in this pass or the last
    Column("done_ms", Ms),  # end of the last whole pass
)  # fmt: skip
