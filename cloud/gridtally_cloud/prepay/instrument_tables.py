"""Tables beside the instruments: the key of each account's keypad codes; wallets that several accounts share.

* A key belongs to an account; `retired_ms` is set when a KEY_ROTATE replaced it.
* `offered` False: the account takes no codes (a profile may forbid entry at the meter), and its key does not travel.
* A floor is the highest instrument number that an edge has used and this store did not issue: it was put back from an older copy.
* A wallet is the sum of its entries, which are only added; each is unique by what it stands for.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Table, Text

from gridtally_cloud.store.base import Blob, Key, Ms, Nano, Number, metadata

keypad_key = Table(
    "keypad_key", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("version", Number, primary_key=True, autoincrement=False),
    Column("secret", Blob, nullable=False),
    Column("offered", Boolean, nullable=False, default=True),
    Column("made_ms", Ms, nullable=False),
    Column("retired_ms", Ms),
)  # fmt: skip

instrument_floor = Table(
    "instrument_floor", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("epoch", Number, primary_key=True, autoincrement=False),
    Column("gseq", Number, nullable=False),
    Column("seq", Number, nullable=False),  # the journal's last entry, as the edge told it
    Column("told_ms", Ms, nullable=False),
)  # fmt: skip

shared_wallet = Table(
    "shared_wallet", metadata,
    Column("wallet_no", Key, primary_key=True),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("credit_nano", Nano, nullable=False, default=0),  # a credit line: how far below zero it may go
    Column("made_ms", Ms, nullable=False),
)  # fmt: skip

wallet_member = Table(
    "wallet_member", metadata,
    Column("account_no", Key, primary_key=True, autoincrement=False),
    Column("wallet_no", Key, ForeignKey("shared_wallet.wallet_no"), nullable=False, index=True),
)  # fmt: skip

wallet_entry = Table(
    "wallet_entry", metadata,
    Column("entry_no", Key, primary_key=True),
    Column("wallet_no", Key, ForeignKey("shared_wallet.wallet_no"), nullable=False, index=True),
    Column("kind", Text, nullable=False),  # paid, repaid, lease, return
    Column("amount_nano", Nano, nullable=False),
    Column("reference", Text, nullable=False, unique=True),  # what it stands for: booked once, however often it is seen
    Column("at_ms", Ms, nullable=False),
)  # fmt: skip
