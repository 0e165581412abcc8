"""Table of erasures: a row says that nothing of this customer is left that names the person. No personal data.

* `created_ms` is the customer's: after a restore a number may be given again, to somebody else.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gridtally_cloud.store.base import Key, Ms, metadata

erasure = Table(
    "erasure", metadata,
    Column("customer_no", Key, primary_key=True, autoincrement=False),
    Column("created_ms", Ms, nullable=False),
    Column("erased_ms", Ms, nullable=False),
    Column("erased_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
)  # fmt: skip
