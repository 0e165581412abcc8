"""Tables of enrolment: the options at zero a programme offers, and the requests to prepay.

* An option stands for a policy of the catalogue; which version held when it was chosen is kept with the request.
* A request is never deleted; its state goes by the table in `enrolment.py`.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table, Text

from gridtally_cloud.store.base import Key, Ms, Nano, metadata

programme_option = Table(
    "programme_option", metadata,
    Column("programme", Text, primary_key=True),
    Column("option", Text, primary_key=True),  # none, disconnect, limit, replenish, postpaid
    Column("policy_id", Text, nullable=False),
    Column("needs", Text, nullable=False, default=""),  # names of conditions, with commas
    Column("changed_ms", Ms, nullable=False),
)  # fmt: skip

prepay_request = Table(
    "prepay_request", metadata,
    Column("request_no", Key, primary_key=True),
    Column("account_no", Key, nullable=False),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms),  # none: until further notice
    Column("programme", Text, nullable=False),
    Column("option", Text, nullable=False),
    Column("policy_id", Text, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("amount_nano", Nano, nullable=False, default=0),
    Column("method", Text, nullable=False, default=""),
    Column("deposit_nano", Nano, nullable=False, default=0),  # one that is held and comes back; none is ever asked for
    Column("source", Text, nullable=False),  # portal, desk, api
    Column("credential", Text, nullable=False),  # what proved who asked: the session, or the number of the identity check
    Column("state", Text, nullable=False),  # asked, starting, active, ended, refused
    Column("reason", Text, nullable=False, default=""),
    Column("idempotency_key", Text, unique=True),
    Column("asked_by", Text, nullable=False),
    Column("asked_ms", Ms, nullable=False),
    Column("state_ms", Ms, nullable=False),
    Column("acknowledged_by", Text, nullable=False, default=""),
    Column("acknowledged_ms", Ms),
    Index("ix_prepay_request_account", "account_no", "asked_ms"),
    Index("ix_prepay_request_state", "state"),
)  # fmt: skip
