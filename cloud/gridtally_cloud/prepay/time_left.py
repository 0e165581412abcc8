"""How long each balance lasts, as the concentrator that walks its tariff says; the portal shows what the display shows (C3-S1.12).

* Only the concentrator that serves the account may say so, or for a managed account the MDM itself (managed_forecast.py), and only the
  newest word is kept.
* A forecast is no money: nothing is charged, warned or switched by it here.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, bindparam, delete, insert, select

from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.ingest.mirror import check_owner
from gridtally_cloud.ingest.tables import time_left
from gridtally_cloud.integrations.webhooks import Topic, announce
from gridtally_cloud.store.base import SHARD
from gridtally_shared.contract.prepay_messages import TimeLeftTold
from gridtally_shared.errors import ContractError
from gridtally_shared.forecast.timeleft import Basis, TimeLeft
from gridtally_shared.money import decimal_text

_t = time_left.c
_OF = and_(_t.shard == SHARD, _t.account_no == bindparam("of_account"))
_THERE = select(_t.epoch, _t.as_of_ms).where(_OF)
_OLDER, _NEWEST, _TOLD = delete(time_left).where(_OF), select(time_left).where(_OF), insert(time_left)


def take_time_left(arrival: Arrival, told: TimeLeftTold) -> None:
    """Keep a forecast unless a newer one is here. Raises ContractError for one of another concentrator's account."""
    check_owner(arrival, told.account_no)
    if told.basis not in {basis.value for basis in Basis}:
        raise ContractError(f"time left of account {told.account_no} on an unknown basis {told.basis!r}")
    of_account = {"of_account": told.account_no}
    there = arrival.conn.execute(_THERE, of_account).first()
    if there is not None and (there.epoch, there.as_of_ms) > (told.epoch, told.as_of_ms):
        return
    arrival.conn.execute(_OLDER, of_account)
    arrival.conn.execute(_TOLD, {
        "shard": SHARD, "account_no": told.account_no, "epoch": told.epoch, "as_of_ms": told.as_of_ms, "balance_nano": told.balance_nano,
        "central_ms": told.central_ms, "cautious_ms": told.cautious_ms, "basis": told.basis, "received_ms": arrival.now_ms,
    })  # fmt: skip
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
