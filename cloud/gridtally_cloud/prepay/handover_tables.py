"""The last swap behind an account: where the register before it ended, where the present one begins for the account, and when.

`kind` is 'meter' (another meter, the same journal), 'edge' (another concentrator, a new epoch) or 'cloud' (a new epoch run by the MDM
itself, prepay/managed.py).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Table, Text, select

from gridtally_cloud.store.base import Key, Ms, Wh, metadata

account_swap = Table(
    "account_swap", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("closing_wh", Wh),
    Column("opening_wh", Wh),
    Column("swapped_ms", Ms, nullable=False),
    Column("actor", Text, nullable=False),
)  # fmt: skip

EDGE, CLOUD = "edge", "cloud"


def is_managed(conn: Connection, account_no: int) -> bool:
    """Whether the MDM runs the account's present epoch."""
    t = account_swap.c
    return conn.execute(select(t.kind).where(t.account_no == account_no)).scalar_one_or_none() == CLOUD


def swap_of(conn: Connection, account_no: int) -> Any:
    """The last swap behind an account, None where there was none."""
    return conn.execute(select(account_swap).where(account_swap.c.account_no == account_no)).one_or_none()


def managed_ones(conn: Connection) -> frozenset[int]:
    return frozenset(conn.execute(select(account_swap.c.account_no).where(account_swap.c.kind == CLOUD)).scalars())
