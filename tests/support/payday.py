"""A seeded street where money moves: the real MDM store and services, and the real prepay core of its concentrator.

What would cross the broker is carried by hand, so a test can lose it, double it and turn it round: `carry_down` brings
instruments and configuration to the edge, `carry_up` the edge's journal to the cloud.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, select, update

from gridtally_cloud.assets import config_publisher
from gridtally_cloud.customers.seed import Plan, SeededHome, seed_street
from gridtally_cloud.customers.street_file import StreetMeter
from gridtally_cloud.ingest.arrival import Arrival, StreamKey
from gridtally_cloud.ingest.journal import take_journal
from gridtally_cloud.ingest.measurements import take_readings
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.model import BalanceView, Capture, Order
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.trial_gateway import TrialGateway, Webhook
from gridtally_cloud.store.tables import account_mirror, dcu, outbox_down
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.core import Identity, PrepayCore
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.contract.codec import decode
from gridtally_shared.contract.messages import DcuConfig, JournalRange, Readings, Value
from gridtally_shared.lifecycle import Reason
from gridtally_shared.money import nano
from gridtally_shared.quantities import ENERGY_IMPORT
from gridtally_shared.signing import KeySigner, verify1
from support.prepay_bench import mode_questions
from support.stores import Kept, begun_from, fresh_store

DCU = "dcu-pay"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_793_471_400_000  # 2026-11-01 00:00 in Kolkata
SIGNER = KeySigner.from_seed(b"p" * 32)
GATEWAY = TrialGateway((b"a webhook secret of the tests",))
METERS = tuple(StreetMeter(f"1000000{n}", "dlms-1", "is15959", True) for n in range(1, 4))
OPENED_WH = 5_000_000


@cache
def _money_store() -> Path:
    """The edge's store before anything is in it, made once and copied for each test."""
    path = Path(tempfile.mkdtemp(prefix="gridtally-payday-")) / "money.db"
    migrate(path, MONEY_STORE)
    return path


@dataclass
class Payday:
    """Homes 0 and 1 are prepaid, home 2 is postpaid. Time starts at a local midnight on the first of a month.
    `begins`: with this store instead of an empty one."""

    folder: Path
    plan: Plan = field(default_factory=lambda: Plan(DCU, postpaid=1))
    takes_mode: str = Reason.UNSUPPORTED
    begins: Kept | None = None

    def __post_init__(self) -> None:
        self.now_ms = START_MS
        shutil.copy(_money_store(), self.folder / "money.db")
        self.db = begun_from(self.begins, self.folder) if self.begins else fresh_store(self.folder)
        self.payments = Payments(SIGNER, GATEWAY)
        self.homes: tuple[SeededHome, ...] = seed_street(self.db, self.payments, METERS, self.plan, self.now_ms)
        with self.db.write() as conn:
            conn.execute(update(dcu).values(state="active"))
        self.money = open_store(self.folder / "money.db", MONEY_STORE)
        self.edge = PrepayCore(self.money, Identity(DCU, {SIGNER.key_id: SIGNER.public}, bytes(16)))
        self.edge.start(self.now_ms)
        self.tell(p.ClockObserved(p.ClockSource.NTP, self.now_ms, self.now_ms))
        self.configure()

    def close(self) -> None:
        self.money.close()
        self.db.close()

    @property
    def account(self) -> int:
        """The first prepaid account."""
        return self.homes[0].account_no

    @property
    def postpaid_account(self) -> int:
        return self.homes[2].account_no

    # ---- the edge ----

    def tell(self, event: p.PrepayEvent) -> None:
        """Meters answer to another payment mode with `takes_mode`: '' for done."""
        for asked in mode_questions(self.edge.handle(event, self.now_ms)):
            no = bool(self.takes_mode)
            self.edge.handle(p.ReadFinished(asked.cmd_id, not no, self.now_ms, reason=self.takes_mode, refused=no), self.now_ms)

    def configure(self) -> None:
        """The configuration the cloud would send now, verified as the agent does."""
        with self.db.write() as conn:
            config_publisher.publish(conn, SIGNER, DCU, self.now_ms)
            configs = select(outbox_down.c.payload).where(outbox_down.c.channel == "config")
            envelope = conn.execute(configs.order_by(outbox_down.c.outbox_no.desc()).limit(1)).scalar_one()
        payload = verify1({SIGNER.key_id: SIGNER.public}, "config", envelope)
        self.tell(p.ConfigAccepted(decode(DcuConfig, payload)))

    def read(self, home: int, register_wh: int) -> None:
        """A reading of now: charged at the edge where the home is prepaid, stored in the cloud in any case."""
        seeded = self.homes[home]
        self.tell(p.MeterRead(seeded.meter_no, seeded.serial, self.now_ms, register_wh, switch=SwitchState.CLOSED))
        with self.db.write() as conn:
            value = Value(seeded.meter_no, ENERGY_IMPORT.code, self.now_ms, register_wh)
            take_readings(self.arrival(conn), Readings((value,)))

    def arrival(self, conn: Connection) -> Arrival:
        return Arrival(conn, StreamKey(DCU, bytes(16), 1), 1, self.now_ms)

    def wait(self, ms: int) -> None:
        self.now_ms += ms
        self.tell(p.ClockObserved(p.ClockSource.NTP, self.now_ms, self.now_ms))
        self.tell(p.Tick())

    # ---- the way down and up ----

    def instruments(self) -> list[bytes]:
        """Envelopes waiting or sent, oldest first."""
        with self.db.read() as conn:
            query = select(outbox_down.c.payload).where(outbox_down.c.channel == "instrument").order_by(outbox_down.c.outbox_no)
            return [bytes(x) for x in conn.execute(query).scalars()]

    def carry_down(self) -> None:
        """Every instrument goes out once more."""
        for envelope in self.instruments():
            self.tell(p.InstrumentArrived(envelope))
        with self.db.write() as conn:
            mine = outbox_down.c.channel == "instrument"
            conn.execute(update(outbox_down).where(mine).values(last_sent_ms=self.now_ms))

    def carry_up(self) -> None:
        """What the mirror does not have yet of every account's journal."""
        for home in self.homes:
            with self.db.write() as conn:
                held = select(account_mirror.c.seq).where(account_mirror.c.account_no == home.account_no)
                seq = conn.execute(held).scalar_one_or_none() or 0
                fresh = tuple(e.to_bytes() for e in entries_of(self.money, home.account_no, 1)[seq:])
                if fresh:
                    take_journal(self.arrival(conn), JournalRange(home.account_no, 1, seq + 1, fresh))

    def round(self) -> None:
        self.carry_down()
        self.carry_up()

    # ---- the consumer and his bank ----

    def order(self, amount: str, account_no: int | None = None) -> Order:
        return prepay.order_payment(self.db, self.payments, account_no or self.account, nano(amount), self.now_ms, "asha")

    def choose(self, order: Order, choice: str = "card") -> Webhook:
        with self.db.write() as conn:
            return GATEWAY.choose(conn, order.gateway_order, choice, self.now_ms)

    def deliver(self, webhook: Webhook, signature: str | None = None) -> Capture:
        with self.db.write() as conn:
            given = webhook.signature if signature is None else signature
            return prepay.handle_webhook(conn, self.payments, webhook.body, given, self.now_ms)

    def pay(self, amount: str, account_no: int | None = None) -> Capture:
        return self.deliver(self.choose(self.order(amount, account_no)))

    def balance(self, account_no: int | None = None) -> BalanceView:
        with self.db.read() as conn:
            return prepay.balance(conn, account_no or self.account)
