"""How far each mirrored journal was walked with the tariff engine: a cache that a walk from the first entry makes again.

* `head`: the hash of entry `seq`; a mirror with another hash there is walked anew. `state`: the LedgerState at that entry as CBOR,
  `running`: the running charge as text (tariff/running_text.py), "" where nothing was charged by terms yet.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from gridtally_cloud.store.base import Blob, Key, Number, metadata, shard_column

account_charging = Table(
    "account_charging", metadata,
    shard_column(),
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, primary_key=True, autoincrement=False),
    Column("seq", Number, nullable=False),
    Column("head", Blob, nullable=False),
    Column("state", Blob, nullable=False),
    Column("running", Text, nullable=False),
    sqlite_with_rowid=False,
)  # fmt: skip
