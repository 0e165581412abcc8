"""The records of prepayment that travel inside the contract's messages: signed documents, checkpoints, leases.

`messages.py` names them where they ride: documents in `DcuConfig`, checkpoints and asks as entries of the urgent lane.
Source: prepayment.md 3.6, 5.4, 5.5.
"""

from __future__ import annotations

from enum import IntEnum

from gridtally_shared.contract.codec import key
from gridtally_shared.records import dataclass


class AccountMode(IntEnum):
    """How an account is paid. The default is the one that was before modes travelled."""

    PREPAID = 0
    POSTPAID = 1


class Managed(IntEnum):
    """Who runs the account's engine: the concentrator on the spot, or the MDM, whose commands it carries out (safety.md 17)."""

    EDGE = 0
    CLOUD = 1


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A version of a rule catalogue as canonical JSON (`policy/document.py` reads it); active from `from_ms` until the next."""

    policy_id: str = key(0)
    version: int = key(1)
    from_ms: int = key(2)
    document: str = key(3)


@dataclass(frozen=True, slots=True)
class CalendarDocument:
    """Zone rules and holidays of a region as canonical JSON, because the time zone data of an offline box ages (safety.md 12)."""

    calendar_id: str = key(0)
    version: int = key(1)
    from_ms: int = key(2)
    document: str = key(3)


@dataclass(frozen=True, slots=True)
class VersionMark:
    """What tells a version of a tariff apart: its stored number, the local day it begins, and the instant within that day (or none)."""

    number: int = key(0)
    first: int = key(1)
    at_ms: int | None = key(2, None)


@dataclass(frozen=True, slots=True)
class CarriedCharge:
    """Where the epoch before had come in charging the open cycle (tariff/carried.py): the running charge as text, and the versions its
    counts name by their place."""

    running: str = key(0)
    versions: tuple[VersionMark, ...] = key(1, ())


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where an account's journal stands, signed by the edge's journal key; the cloud signs the same bytes again. `seal`: the hash over
    the whole state (ledger/seal.py), empty from an edge of before; only a checkpoint that has it can be where a journal begins."""

    dcu: str = key(0)
    account_no: int = key(1)
    epoch: int = key(2)
    seq: int = key(3)
    entry_hash: bytes = key(4)
    balance_nano: int = key(5)
    meter_no: int = key(6)
    register_wh: int | None = key(7)
    at_ms: int = key(8)
    seal: bytes = key(9, b"")


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """COSE_Sign1 of a Checkpoint on the name `checkpoint`."""

    envelope: bytes = key(0)


@dataclass(frozen=True, slots=True)
class SiteEntry:
    """What was done on site at a supply whose account the edge does not run: as it would stand in the journal there. `kind` and `detail`
    are those of a journal entry (CONTROL: a hold that only a person on site lifts; SWITCH: what became of a switch action he asked for).
    The MDM writes it into the journal it runs. The same `entry_id` again is the same entry. `account_no`: as it was named
    there, 0 by its meter. An MDM of before sets it aside."""

    entry_id: bytes = key(0)
    meter_no: int = key(1)
    kind: int = key(2)
    at_ms: int = key(3)
    detail: bytes = key(4)
    account_no: int = key(5, 0)


@dataclass(frozen=True, slots=True)
class MeterHold:
    """How it stands with a hold of a meter whose account the edge does not run, by all the MDM has heard. `heard`: the newest entries of
    the edge about it, oldest first: what an edge said that is not among them came later, and stands above this."""

    reason: str = key(0)
    on: bool = key(1, True)
    heard: tuple[bytes, ...] = key(2, ())


@dataclass(frozen=True, slots=True)
class LeaseAsk:
    """The edge asks for the next chunk of a shared wallet. `number` counts from 1: the same ask again is the same chunk."""

    account_no: int = key(0)
    epoch: int = key(1)
    number: int = key(2)
    remaining_nano: int = key(3)
    at_ms: int = key(4)


@dataclass(frozen=True, slots=True)
class TimeLeftTold:
    """The edge's forecast of an account's last money: likely and cautious instant, None beyond its horizon. `basis` as in
    `forecast.timeleft.Basis`. Sent while there is a link: with each hour, near zero with each recording interval."""

    account_no: int = key(0)
    epoch: int = key(1)
    as_of_ms: int = key(2)
    balance_nano: int = key(3)
    central_ms: int | None = key(4)
    cautious_ms: int | None = key(5)
    basis: str = key(6)


@dataclass(frozen=True, slots=True)
class MirrorAsk:
    """The edge's journal is behind the mirror or differs from it: send what the mirror holds from `from_seq` on. Answered
    by JournalRange messages on the channel `mirror` (prepayment.md T27)."""

    account_no: int = key(0)
    epoch: int = key(1)
    from_seq: int = key(2)
