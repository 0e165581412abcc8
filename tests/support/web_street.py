"""A street with some weeks of life in it, for tests of pages and API: the real store, services, ingest and prepay core.

What a concentrator would send is encoded and goes through `Ingest.handle`, as it would from the broker. Use follows a
fixed pattern, so that figures on pages can be worked out by hand: `wh_of(place, at_ms)`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path

from flask import Flask
from sqlalchemy import select

from gridtally_cloud.app import create_app
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.seed import Plan, SeedUser, seed_street
from gridtally_cloud.ingest.service import Answer, Ingest
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.tables import account_mirror
from gridtally_cloud.web.site import WebSettings
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_native import encode_block
from gridtally_shared.contract import channels
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.prepay_messages import TimeLeftTold
from gridtally_shared.money import NANO
from gridtally_shared.quality import Quality
from gridtally_shared.quantities import BY_NAME, INTERVAL_IMPORT
from support.payday import DAY_MS, DCU, GATEWAY, METERS, OPENED_WH, SIGNER, START_MS, Payday
from support.stores import Kept, fresh_store, keep

PASSWORD = "seven green umbrellas"
QUARTER_MS = 900_000
PER_DAY = DAY_MS // QUARTER_MS
HOURLY_WH = (60, 52, 48, 48, 50, 74, 160, 240, 210, 130, 100, 96, 140, 150, 110, 98, 104, 160, 290, 410, 380, 300, 190, 100)

USERS = (
    SeedUser("asha", "Asha Rao", Role.CONSUMER, PASSWORD, METERS[0].serial),
    SeedUser("bilal", "Bilal Khan", Role.CONSUMER, PASSWORD, METERS[1].serial, "hi"),
    SeedUser("carmen", "Carmen Ortega", Role.CONSUMER, PASSWORD, METERS[2].serial, "es"),
    SeedUser("dora", "Dora Desk", Role.DESK, PASSWORD),
    SeedUser("otto", "Otto Operations", Role.OPERATIONS, PASSWORD),
    SeedUser("olga", "Olga Operations", Role.OPERATIONS, PASSWORD),
    SeedUser("ada", "Ada Admin", Role.ADMIN, PASSWORD),
)


def wh_of(place: int, at_ms: int) -> int:
    """Use of the quarter hour that starts at `at_ms` in home `place`."""
    hour = (at_ms // 3_600_000 + 5) % 24  # Kolkata is five and a half hours ahead
    day = at_ms // DAY_MS
    return HOURLY_WH[hour] * (80 + (day * 37 + place * 23) % 60) // 400 + at_ms // QUARTER_MS % 5


@dataclass
class StreetClock:
    """Business time of the pages: that of the street."""

    street: Payday

    def now_ms(self) -> int:
        return self.street.now_ms

    def factor(self) -> float:
        return 1.0


PLAN = Plan(DCU, postpaid=1, users=USERS, opening_credit_nano=600 * NANO, low_balance_nano=100 * NANO)


def seeded_store(folder: Path) -> Kept:
    """The store of the street before its first day, to begin each test from: seven passwords take their time."""
    db = fresh_store(folder)
    seed_street(db, Payments(SIGNER, GATEWAY), METERS, PLAN, START_MS)
    kept = keep(db)
    db.close()
    return kept


@dataclass
class WebStreet:
    """Homes 0 and 1 prepaid (rupees), home 2 postpaid. Time starts at the first of a month in Kolkata. `store`: one of
    `seeded_store` to begin with."""

    folder: Path
    store: Kept | None = None
    seq: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pay = Payday(self.folder, PLAN, begins=self.store)
        self.ingest = Ingest(self.pay.db, SIGNER)
        self.register = [OPENED_WH] * len(METERS)
        self.hello()
        self.pay.tell(p.LinkChanged(True))
        self.pay.tell(p.WelcomeSeen(self.now_ms))
        self.carried = 0
        for place in range(len(METERS)):
            self.pay.read(place, self.register[place])
        self.send_journal()
        self.pay.carry_down()
        self.send_journal()

    def close(self) -> None:
        self.pay.close()

    @property
    def now_ms(self) -> int:
        return self.pay.now_ms

    def app(self, https: bool = False) -> Flask:
        settings = WebSettings(b"a secret key of the tests, 32 b..", https, "Asia/Kolkata")
        return create_app(settings, self.pay.db, StreetClock(self.pay), self.pay.payments)

    # ---- what the concentrator sends ----

    def handle(self, channel: str, message: object) -> Answer:
        return self.ingest.handle(channels.BY_NAME[channel].topic(DCU), encode(message), self.now_ms)

    def hello(self) -> None:
        self.handle("hello", m.Hello(1, DCU, bytes(16), "0.1.0", self.now_ms, 0, 1))

    def send(self, lane: m.Lane, kind: m.EntryKind, body: object) -> Answer:
        """One entry in a batch of its own, under the next number of its lane."""
        self.seq[lane] = self.seq.get(lane, 0) + 1
        entry = m.Entry(self.seq[lane], kind, encode(body))
        stream = bytes([lane]) * 16
        return self.handle(channels.BY_LANE[lane].name, m.Batch(stream, lane, (entry,), self.now_ms))

    def send_time_left(self) -> None:
        """What the edge says of how long balances last."""
        for entry in self.pay.edge.outbox.pending(m.Lane.URGENT, self.carried, 1 << 24):
            self.carried = entry.seq
            if entry.kind == m.EntryKind.TIME_LEFT:
                self.send(m.Lane.URGENT, m.EntryKind.TIME_LEFT, decode(TimeLeftTold, entry.body))

    def send_journal(self) -> int:
        """The entries the mirror lacks, of all accounts; number sent."""
        sent = 0
        for home in self.pay.homes:
            with self.pay.db.read() as conn:
                query = select(account_mirror.c.seq).where(account_mirror.c.account_no == home.account_no)
                seq = conn.execute(query).scalar_one_or_none() or 0
            fresh = tuple(e.to_bytes() for e in entries_of(self.pay.money, home.account_no, 1)[seq:])
            if fresh:
                self.send(m.Lane.URGENT, m.EntryKind.JOURNAL, m.JournalRange(home.account_no, 1, seq + 1, fresh))
            sent += len(fresh)
        return sent

    def send_event(self, place: int, code: int, detail: str = "") -> None:
        self.send(m.Lane.URGENT, m.EntryKind.EVENT, m.Event(self.pay.homes[place].meter_no, code, self.now_ms, detail))

    def send_status(self, place: int, answering: bool = True, switch: int = 1) -> None:
        status = m.MeterStatus(self.pay.homes[place].meter_no, self.now_ms, answering, switch)
        self.send(m.Lane.LIVE, m.EntryKind.METER_STATUS, status)

    def send_intervals(self, place: int, start_ms: int, n: int, estimated: range = range(0), missing: range = range(0)) -> None:
        """`n` quarters from `start_ms`; slots in `estimated` carry the flag, those in `missing` no value."""
        slots = [start_ms + i * QUARTER_MS for i in range(n)]
        values = array("q", [wh_of(place, at) for at in slots])
        present = bytes(i not in missing for i in range(n))
        flags = [Quality.ESTIMATED if i in estimated else Quality.MISSING if i in missing else 0 for i in range(n)]
        quality = b"".join(int(f).to_bytes(2, "little") for f in flags)
        packed = encode_block(values, present)
        block = m.ChannelBlock(self.pay.homes[place].meter_no, INTERVAL_IMPORT.code, start_ms, 900, n, packed, quality)
        self.send(m.Lane.LIVE, m.EntryKind.INTERVALS, m.Intervals((block,)))

    def send_values(self, place: int, **values: int) -> None:
        rows = tuple(m.Value(self.pay.homes[place].meter_no, BY_NAME[name].code, self.now_ms, v) for name, v in values.items())
        self.send(m.Lane.LIVE, m.EntryKind.READINGS, m.Readings(rows))

    # ---- time ----

    def live(self, quarters: int, *, estimated: range = range(0), missing: range = range(0)) -> None:
        """Let time pass: intervals arrive, registers rise, the prepay core charges, the journal comes up."""
        start_ms = self.now_ms
        for done in range(0, quarters, 24):
            step = min(24, quarters - done)
            self.pay.wait(step * QUARTER_MS)
            for place in range(len(METERS)):
                span = range(start_ms + done * QUARTER_MS, start_ms + (done + step) * QUARTER_MS, QUARTER_MS)
                self.register[place] += sum(wh_of(place, at) for at in span)
                self.pay.read(place, self.register[place])
        for place in range(len(METERS)):
            gaps = (estimated, missing) if place == 0 else (range(0), range(0))
            self.send_intervals(place, start_ms, quarters, *gaps)
            self.send_status(place)
        self.send_journal()
        self.send_time_left()
