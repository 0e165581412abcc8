"""How long each balance lasts, as the concentrator that walks its tariff says; the portal shows what the display shows (C3-S1.12).

* Only the concentrator that serves the account may say so, or for a managed account the MDM itself (managed_forecast.py), and only the
  newest word is kept.
* A forecast is no money: nothing is charged, warned or switched by it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.ingest.mirror import check_owned, owners
from gridtally_cloud.ingest.tables import time_left
from gridtally_cloud.integrations.webhooks import Topic, announce, is_wanted
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import upsert_all
from gridtally_shared.contract.prepay_messages import TimeLeftTold
from gridtally_shared.errors import ContractError
from gridtally_shared.forecast.timeleft import Basis, TimeLeft
from gridtally_shared.money import decimal_text

_t = time_left.c
_NEWEST = select(time_left).where(_t.shard == SHARD, _t.account_no == bindparam("of_account"))
_THERE = select(_t.account_no, _t.epoch, _t.as_of_ms).where(_t.shard == SHARD, _t.account_no.in_(bindparam("accounts", expanding=True)))
_WORDS = frozenset(basis.value for basis in Basis)


def take_time_left(arrival: Arrival, told: TimeLeftTold) -> None:
    """Keep a forecast unless a newer one is here. Raises ContractError for one of another concentrator's account."""
    for refusal in take_times_left(arrival, (told,)).values():
        raise refusal


def take_times_left(arrival: Arrival, messages: Sequence[TimeLeftTold]) -> Mapping[int, ContractError]:
    """`take_time_left` of several in their order: owners, what is there and who wants to hear of it are asked once. Those that are
    refused are left out; why, by their place."""
    accounts = sorted({told.account_no for told in messages})
    owned = owners(arrival.conn, accounts)
    there = {row.account_no: (row.epoch, row.as_of_ms) for row in arrival.conn.execute(_THERE, {"accounts": accounts})}
    kept: list[TimeLeftTold] = []
    refused: dict[int, ContractError] = {}
    for place, told in enumerate(messages):
        try:
            check_owned(owned, arrival.dcu, told.account_no)
            _check_basis(told)
        except ContractError as error:
            refused[place] = error
            continue
        newest = there.get(told.account_no)
        if newest is None or newest <= (told.epoch, told.as_of_ms):
            there[told.account_no] = (told.epoch, told.as_of_ms)
            kept.append(told)
    upsert_all(arrival.conn, time_left, [_row(arrival, told) for told in {told.account_no: told for told in kept}.values()])
    if kept and is_wanted(arrival.conn, Topic.BALANCE_REPORTED):
        for told in kept:
            _announce(arrival, told)
    return refused


def _check_basis(told: TimeLeftTold) -> None:
    if told.basis not in _WORDS:
        raise ContractError(f"time left of account {told.account_no} on an unknown basis {told.basis!r}")


def _row(arrival: Arrival, told: TimeLeftTold) -> dict[str, Any]:
    return {
        "shard": SHARD, "account_no": told.account_no, "epoch": told.epoch, "as_of_ms": told.as_of_ms, "balance_nano": told.balance_nano,
        "central_ms": told.central_ms, "cautious_ms": told.cautious_ms, "basis": told.basis, "received_ms": arrival.now_ms,
    }  # fmt: skip


def _announce(arrival: Arrival, told: TimeLeftTold) -> None:
    announce(arrival.conn, Topic.BALANCE_REPORTED, f"{told.account_no}/{told.epoch}/{told.as_of_ms}", arrival.now_ms,
             f"/accounts/{told.account_no}/balance", {
                 "account_no": told.account_no, "balance": decimal_text(told.balance_nano), "as_of_ms": told.as_of_ms,
                 "lasts_until_ms": told.central_ms, "cautious_until_ms": told.cautious_ms,
             })  # fmt: skip


def told_as_of_ms(conn: Connection, account_no: int, epoch: int, balance_nano: int) -> int:
    """Until when the concentrator has said that the balance is this one; 0 where it has not."""
    t = time_left.c
    where = (t.shard == SHARD, t.account_no == account_no, t.epoch == epoch, t.balance_nano == balance_nano)
    return conn.execute(select(t.as_of_ms).where(*where)).scalar_one_or_none() or 0


def told_now(conn: Connection, account_no: int, epoch: int) -> TimeLeftTold | None:
    """The newest word of this epoch, as it was told."""
    row = conn.execute(_NEWEST, {"of_account": account_no}).first()
    if row is None or row.epoch != epoch:
        return None
    return TimeLeftTold(account_no, epoch, row.as_of_ms, row.balance_nano, row.central_ms, row.cautious_ms, row.basis)


def time_left_of(conn: Connection, account_no: int) -> TimeLeft | None:
    """The newest forecast of an account; None where none is told."""
    row = conn.execute(_NEWEST, {"of_account": account_no}).first()
    if row is None or row.basis == Basis.NONE.value:
        return None
    return TimeLeft(row.as_of_ms, row.central_ms, row.cautious_ms, Basis(row.basis))
