"""The seeded street of `payday` with its two sides joined by real bytes: hello, welcome, batches, receipts, what comes down.

Nothing travels by itself: `greet` is a connect, `sync` carries everything both ways until nothing is left. `lose` drops answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select, update

from gridtally_cloud.ingest.service import Ingest, Outgoing
from gridtally_cloud.prepay.reconcile import reconcile
from gridtally_cloud.store.tables import dcu, ledger_problem
from gridtally_edge.journal.sqlite import open_store, transaction
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.core import Identity, PrepayCore
from gridtally_edge.prepay.opening import replayed
from gridtally_edge.prepay.rows import AccountRow, one
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_edge.prepay.turn import KEEP_JOURNAL_MS, Cadence
from gridtally_edge.sync.uplink import is_older
from gridtally_shared.contract.channels import BY_NAME
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.messages import Batch, Hello, Lane, Receipt, Welcome
from gridtally_shared.ledger.entries import LedgerEntry
from gridtally_shared.ledger.replay import LedgerState
from gridtally_shared.signing import KeySigner, verify1
from support.payday import DCU, HOUR_MS, OPENED_WH, SIGNER, Payday

JOURNAL_KEY = KeySigner.from_seed(b"j" * 32)
KEYS = {SIGNER.key_id: SIGNER.public}
EVENT_OF = {"checkpoint": p.CheckpointSigned, "mirror": p.MirrorArrived, "instrument": p.InstrumentArrived}


@dataclass
class LinkedPair(Payday):
    """`cadence` is how often the edge makes checkpoints, `keep_journal_ms` how long it keeps entries below them."""

    cadence: Cadence = field(default_factory=Cadence)
    keep_journal_ms: int = KEEP_JOURNAL_MS
    boots: int = 0
    lose: Callable[[Outgoing], bool] = lambda answer: False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ingest = Ingest(self.db, SIGNER)
        with self.db.write() as conn:
            conn.execute(update(dcu).values(journal_key=JOURNAL_KEY.public))
        self.restart()

    # ---- the box

    @property
    def path(self) -> Path:
        return self.folder / "money.db"

    def restart(self) -> None:
        """As after a power cut: everything in memory is gone."""
        self.money.close()
        self.boots += 1
        self.money = open_store(self.path, MONEY_STORE)
        boot_id = self.boots.to_bytes(16, "big")
        self.edge = PrepayCore(self.money, Identity(DCU, KEYS, boot_id, JOURNAL_KEY, self.cadence, self.keep_journal_ms))
        self.edge.start(self.now_ms)
        self.tell(p.ClockObserved(p.ClockSource.NTP, self.now_ms, self.now_ms))

    def image(self, name: str) -> Path:
        """A copy of the disk as it is, the write-ahead log included."""
        folder = self.folder / name
        folder.mkdir()
        for file in self.folder.glob("money.db*"):
            shutil.copy(file, folder / file.name)
        return folder

    def roll_back(self, image: Path) -> None:
        """The box starts from an old image of its disk."""
        self.money.close()
        for file in self.folder.glob("money.db*"):
            file.unlink()
        for file in image.iterdir():
            shutil.copy(file, self.folder / file.name)
        self.money = open_store(self.path, MONEY_STORE)
        self.restart()

    def roll_back_from(self, money: Path) -> None:
        """The box starts with another copy of its store."""
        folder = self.folder / "given"
        folder.mkdir()
        shutil.copy(money, folder / "money.db")
        self.roll_back(folder)

    # ---- the wire

    def greet(self) -> None:
        """A connect: hello and welcome, with a new stream where the cloud asks for one."""
        self.tell(p.LinkChanged(True))
        hello = Hello(1, DCU, self.edge._identity.boot_id, "t", self.now_ms, 0, self.edge.config_version, self.edge.outbox.heads(),
                      self.edge.heads(), self.edge.counters())  # fmt: skip
        (answer,) = self.ingest.handle(BY_NAME["hello"].topic(DCU), encode(hello), self.now_ms)
        welcome = decode(Welcome, verify1(KEYS, "welcome", answer.payload))
        if is_older(self.edge.outbox, welcome):
            with transaction(self.money):
                self.edge.outbox.renew_stream()
        self.tell(p.WelcomeSeen(welcome.at_ms, welcome.accounts))

    def sync(self) -> None:
        """Everything up, and every answer down, until the queue is empty."""
        for _ in range(50):
            if not self._send_one():
                return
        raise AssertionError("the two sides never come to rest")

    def _send_one(self) -> bool:
        outbox = self.edge.outbox
        head = next(h for h in outbox.heads() if h.lane == Lane.URGENT)
        entries = outbox.pending(Lane.URGENT, head.receipted, 32_768)
        if not entries:
            return False
        batch = encode(Batch(outbox.stream_id, Lane.URGENT, entries, self.now_ms))
        for answer in self.ingest.handle(BY_NAME["urgent"].topic(DCU), batch, self.now_ms):
            self._take(answer)
        return True

    def _take(self, answer: Outgoing) -> None:
        if self.lose(answer):
            return
        if answer.channel == "receipt":
            receipt = decode(Receipt, answer.payload)
            with transaction(self.money):
                self.edge.outbox.receipt(receipt.stream_id, receipt.lane, receipt.upto, self.now_ms)
        else:
            self.tell(EVENT_OF[answer.channel](answer.payload))

    def meet(self) -> None:
        self.greet()
        self.carry_down()
        self.sync()

    # ---- what came of it

    @property
    def row(self) -> AccountRow:
        found = one(self.money, AccountRow, self.account, 1)
        assert found is not None
        return found

    def entries(self) -> list[LedgerEntry]:
        return entries_of(self.money, self.account, 1)

    def state(self) -> LedgerState:
        keys = {**KEYS, JOURNAL_KEY.key_id: JOURNAL_KEY.public}
        state, problem = replayed(self.money, self.account, 1, keys)
        assert problem is None
        return state

    def problems(self) -> list[str]:
        """What the mirror refused and is not over."""
        with self.db.read() as conn:
            return list(conn.execute(select(ledger_problem.c.code).where(ledger_problem.c.resolved_ms.is_(None))).scalars())


@contextmanager
def charged_pair(folder: Path) -> Iterator[LinkedPair]:
    """Both sides after the first payment and the first charged kWh."""
    pair = LinkedPair(folder)
    pair.read(0, OPENED_WH)
    pair.pay("200")
    pair.meet()
    pair.wait(HOUR_MS)
    pair.read(0, OPENED_WH + 1_000)
    pair.sync()
    yield pair
    pair.close()


def faults(pair: LinkedPair) -> list[str]:
    """Where the mirror and what was issued differ."""
    with pair.db.read() as conn:
        return [m.text for m in reconcile(conn, pair.account)]
