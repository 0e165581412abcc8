"""Rows of money.db about what a journal is checked against: checkpoints, accounts that are being healed, where pruned ones begin.

`journal_aside` keeps, as evidence, entries whose place the mirror's entries took.
"""

from __future__ import annotations

from typing import ClassVar

from gridtally_edge.prepay.rows import Row
from gridtally_shared.records import dataclass


@dataclass(slots=True)
class CheckpointRow(Row):
    """`payload` is what both sides sign, `own` and `cloud` the envelopes (`cloud` empty until it came), `state` the cached
    form of the replay at that entry, `running` the running charge it led to ('' for none yet, None where it was not known)."""

    TABLE: ClassVar[str] = "checkpoint"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch", "seq")

    account_no: int
    epoch: int
    seq: int
    payload: bytes
    own: bytes
    cloud: bytes
    state: str
    made_ms: int
    running: str | None = None


@dataclass(slots=True)
class OpeningRow(Row):
    """A journal that was pruned: it begins with the entry of a countersigned checkpoint, which stays (opening.py). Entries below it go,
    `done` when all have; `kept`: the numbers of those that are still told (told.py), as JSON."""

    TABLE: ClassVar[str] = "journal_opening"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch")

    account_no: int
    epoch: int
    seq: int
    kept: str
    done: int
    opened_ms: int


@dataclass(slots=True)
class RecoveryRow(Row):
    """An account that is being healed: the mirror's head as the cloud signed it, and from where it was asked last. `rebuild`:
    our own journal is not whole, so every entry is compared and nothing of ours beyond the mirror's head is kept."""

    TABLE: ClassVar[str] = "recovery"
    KEY: ClassVar[tuple[str, ...]] = ("account_no", "epoch")

    account_no: int
    epoch: int
    target_seq: int
    target_hash: bytes
    asked_from: int
    since_ms: int
    rebuild: int = 0


SCHEMA: tuple[str, ...] = (
    """CREATE TABLE checkpoint (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, own BLOB NOT NULL,
        cloud BLOB NOT NULL, state TEXT NOT NULL, made_ms INTEGER NOT NULL, PRIMARY KEY (account_no, epoch, seq)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE recovery (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, target_seq INTEGER NOT NULL, target_hash BLOB NOT NULL,
        asked_from INTEGER NOT NULL, since_ms INTEGER NOT NULL, rebuild INTEGER NOT NULL, PRIMARY KEY (account_no, epoch)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE journal_aside (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, aside_ms INTEGER NOT NULL,
        PRIMARY KEY (account_no, epoch, seq, aside_ms)
    ) STRICT, WITHOUT ROWID""",
)

PRUNING: tuple[str, ...] = (
    "ALTER TABLE checkpoint ADD COLUMN running TEXT",
    """CREATE TABLE journal_opening (
        account_no INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, kept TEXT NOT NULL, done INTEGER NOT NULL,
        opened_ms INTEGER NOT NULL, PRIMARY KEY (account_no, epoch)
    ) STRICT, WITHOUT ROWID""",
)
