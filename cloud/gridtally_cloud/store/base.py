"""What every table of the MDM store shares: one MetaData, the naming of constraints, and the column types.

* Money is `Nano` (int64 of 10^-9 currency units), time is `Ms` (int64 milliseconds UTC), energy `Wh` (int64).
* Hot tables carry `shard` first in their key: 0 on SQLite, the distribution key of Citus elsewhere (mdm.md F.3).
* `Key` is an integer the store issues itself. SQLite only counts up columns of its own INTEGER type.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, SmallInteger

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = MetaData(naming_convention=NAMING)

Nano = BigInteger
Ms = BigInteger
Wh = BigInteger
Number = BigInteger
Blob = LargeBinary
Key = BigInteger().with_variant(Integer, "sqlite")

SHARD = 0
"""The only shard of an embedded store."""


def shard_column() -> Column[Any]:
    """First column of a hot table's primary key."""
    return Column("shard", SmallInteger, primary_key=True, autoincrement=False, default=SHARD, nullable=False)
