"""Asks for the next chunk of a shared wallet, as they came from the edges (prepayment.md 5.4).

* An ask is kept once by (account, epoch, number): the same number again is the same chunk.
* Only the concentrator that serves the account may ask. Granting is a credit instrument of its own.
"""

from __future__ import annotations

from gridtally_cloud.ingest.arrival import Arrival
from gridtally_cloud.ingest.mirror import check_owner
from gridtally_cloud.ingest.tables import lease_ask
from gridtally_cloud.store.base import SHARD
from gridtally_cloud.store.db import insert_new
from gridtally_shared.contract.prepay_messages import LeaseAsk
from gridtally_shared.errors import ContractError


def take_ask(arrival: Arrival, ask: LeaseAsk) -> None:
    """Keep an ask. Raises ContractError for one of another concentrator's account or without a number."""
    check_owner(arrival, ask.account_no)
    if ask.number < 1:
        raise ContractError(f"lease ask of account {ask.account_no} without a number")
    row = {"shard": SHARD, "account_no": ask.account_no, "epoch": ask.epoch, "number": ask.number, "dcu": arrival.dcu,
           "remaining_nano": ask.remaining_nano, "asked_ms": ask.at_ms, "received_ms": arrival.now_ms}  # fmt: skip
    insert_new(arrival.conn, lease_ask, [row])
