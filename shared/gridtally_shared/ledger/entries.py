"""One entry of an account's journal: an immutable fact, double entry, chained by hash (prepayment.md 5.5).

* Postings of every entry sum to zero. `Pool.PAID` is what the consumer has; its sum is the balance.
* `previous` is the SHA-256 of the bytes of the entry before it; the first one carries 32 zero bytes.
* What the consumer has is `PAID` and `RESERVED`; what he owes stands as a negative amount in `EMERGENCY` (used, to be
  paid back) and in the three debts: `DEBT` (what a refund or a conversion left), `DEBT_TIME`, `DEBT_PAYMENT`. A debt is never
  the cause of a cut by itself. The other pools are where money went, or where it came from.
* Corrections are new entries that name what they correct in `cause`. Nothing is ever rewritten.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from functools import lru_cache

from gridtally_shared.contract.codec import decode, encode, key
from gridtally_shared.errors import ContractError
from gridtally_shared.records import dataclass

GENESIS = bytes(32)


class Kind(IntEnum):
    OPEN = 1
    CREDIT = 2
    ENERGY = 3
    FIXED = 4
    CORRECTION = 5
    REFUND = 6
    NOTICE = 7
    DECISION = 8
    SWITCH = 9
    CHECKPOINT = 10
    CLOSE = 11
    TAX = 12
    DEBT = 13
    EMERGENCY = 14
    RETURN = 15
    TRANSFER = 16
    METER = 17
    MODE = 18
    CONTROL = 19
    SCHEDULE = 20


class Pool(IntEnum):
    PAID = 1
    RECEIVED = 2
    ENERGY = 3
    FIXED = 4
    TAX = 5
    TRANSFER = 6
    DEBT = 7
    RESERVED = 8
    EMERGENCY = 9
    DEBT_TIME = 10
    DEBT_PAYMENT = 11
    FEE = 12
    SUBSIDY = 13
    DEMAND = 14
    EVENT = 15


OWN = (Pool.PAID, Pool.RESERVED)
"""What the balance is made of."""


@dataclass(frozen=True, slots=True)
class Posting:
    pool: int = key(0)
    amount_nano: int = key(1)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """`gseq` is the instrument's number (CREDIT, REFUND, TRANSFER and others it led to), 0 otherwise. Register values are set
    on OPEN, ENERGY, METER and MODE: METER ends the old meter's register and begins the new one's, MODE ends one way of paying and
    begins the other with the same reading, and passes over what was used in between and is not charged here.
    `day_after` on OPEN, FIXED and MODE: the local day (proleptic ordinal) up to and including which days are charged.
    `cause` is the id of what led here (payment, command, decision); `detail` the CBOR of a record of evidence.py.
    `period` is the number of the collection period in which a debt was collected; `mode` an AccountMode, on OPEN and MODE."""

    account_no: int = key(0)
    epoch: int = key(1)
    seq: int = key(2)
    previous: bytes = key(3)
    kind: int = key(4)
    at_ms: int = key(5)
    postings: tuple[Posting, ...] = key(6, ())
    meter_no: int = key(7, 0)
    register_before_wh: int | None = key(8, None)
    register_after_wh: int | None = key(9, None)
    tariff_version: int = key(10, 0)
    gseq: int = key(11, 0)
    cause: bytes = key(12, b"")
    uncertainty_ms: int = key(13, 0)
    boot_id: bytes = key(14, b"")
    mono_ms: int = key(15, 0)
    detail: bytes = key(16, b"")
    day_after: int = key(17, 0)
    period: int = key(18, 0)
    mode: int = key(19, 0)

    def to_bytes(self) -> bytes:
        return encode(self)

    @property
    def entry_hash(self) -> bytes:
        return _sealed(self)


@lru_cache(maxsize=512)
def _sealed(entry: LedgerEntry) -> bytes:
    return hash_of(entry.to_bytes())


def hash_of(entry_bytes: bytes) -> bytes:
    return hashlib.sha256(entry_bytes).digest()


@lru_cache(maxsize=512)
def entry_from(data: bytes) -> LedgerEntry:
    """Read an entry. Raises ContractError, also when the bytes are not exactly those this code would write. The newest ones are
    remembered: a journal that is walked is walked again soon."""
    entry = decode(LedgerEntry, data)
    if entry.kind not in Kind.__members__.values():
        raise ContractError(f"journal entry of unknown kind {entry.kind}")
    if entry.to_bytes() != data:
        raise ContractError(f"journal entry {entry.seq} holds keys this version does not know")
    return entry


def move(source: Pool, target: Pool, amount_nano: int) -> tuple[Posting, ...]:
    """Two postings that carry an amount from one pool to another; none for zero."""
    return (Posting(source, -amount_nano), Posting(target, amount_nano)) if amount_nano else ()
