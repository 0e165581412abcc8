"""The whole chain in one thread by a clock wound by hand: simulated meters, the edge core, the MDM's store and its API.

A LittleStreet and the real ingest, publisher, configuration publisher and web app of the MDM share one clock; what a broker
would carry is carried by `carry`, and a test may cut the uplink, lose a batch or send it twice. Values do not change
between a reading and its check, so they can be compared field by field.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import update
from werkzeug.test import TestResponse

from gridtally_cloud.app import create_app
from gridtally_cloud.assets import config_publisher
from gridtally_cloud.commands import receipts
from gridtally_cloud.customers.seed import Plan, SeededHome, SeedUser, seed_street
from gridtally_cloud.customers.street_file import StreetMeter
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.trial_gateway import TrialGateway
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import dcu
from gridtally_cloud.web.site import WebSettings
from gridtally_cloud.web.tokens import SCOPES, create_token
from gridtally_edge.prepay.events import ClockObserved, ClockSource
from gridtally_edge.sync.mqtt import Arrived, LinkLost, LinkUp
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract.channels import BY_NAME, parse_topic
from gridtally_shared.contract.codec import encode
from gridtally_shared.money import NANO
from gridtally_shared.signing import KeySigner
from support.little_street import DCU, START_MS, LittleStreet, little_street
from support.stores import fresh_store

SIGNER = KeySigner.from_seed(b"h" * 32)
GATEWAY = TrialGateway((b"a webhook secret of the chain",))
BASE = "/api/v1"


@dataclass
class Chain:
    """`homes` in the order of the street's meters. `lose` names channels whose messages upward are lost."""

    street: LittleStreet
    db: Database
    homes: tuple[SeededHome, ...]
    app: Flask
    token: str
    payments: Payments
    connected: bool = False
    lose: set[str] = field(default_factory=set)
    sent_up: list[tuple[str, bytes]] = field(default_factory=list)
    sent_down: list[tuple[str, bytes]] = field(default_factory=list)
    others: list[LittleStreet] = field(default_factory=list)
    _taken: int = 0
    _taken_of: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ingest = Ingest(self.db, SIGNER)
        self.publisher = Publisher(self.db, "chain", self._publish)

    # ---- the network ----

    def connect(self) -> None:
        self.connected = True
        for street in (self.street, *self.others):
            street.handle(LinkUp())
        self.carry()

    def cut(self) -> None:
        self.connected = False
        self.street.handle(LinkLost("the uplink was cut"))

    def carry(self) -> None:
        """Until nobody has anything to say any more."""
        while self._carry_up() or self._carry_others() or self._jobs():
            continue

    def again(self, channel: str) -> None:
        """Every message of a channel goes up once more, as after a lost answer."""
        for topic, payload in [m for m in self.sent_up if m[0] == BY_NAME[channel].topic(DCU)]:
            self.ingest.handle(topic, payload, self.now_ms)

    def _carry_up(self) -> int:
        fresh = self.street.published[self._taken :]
        self._taken += len(fresh)
        for name, message in fresh:
            if self.connected and name not in self.lose:
                self.sent_up.append((BY_NAME[name].topic(DCU), encode(message)))
                for answer in self.ingest.handle(*self.sent_up[-1], self.now_ms):
                    self.street.handle(Arrived(answer.topic, answer.payload))
        return len(fresh)

    def _carry_others(self) -> int:
        """What further concentrators say; `lose` and `sent_up` do not know them."""
        carried = 0
        for street in self.others if self.connected else ():
            fresh = street.published[self._taken_of.get(street.dcu, 0) :]
            self._taken_of[street.dcu] = len(street.published)
            carried += len(fresh)
            for name, message in fresh:
                for answer in self.ingest.handle(BY_NAME[name].topic(street.dcu), encode(message), self.now_ms):
                    street.handle(Arrived(answer.topic, answer.payload))
        return carried

    def _jobs(self) -> int:
        config_publisher.publish_changes(self.db, SIGNER, self.now_ms)
        with self.db.write() as conn:
            receipts.queue_due(conn, SIGNER, self.now_ms)
            receipts.reissue_overtaken(conn, SIGNER, self.now_ms)
            receipts.expire(conn, self.now_ms)
        return self.publisher.send_due(self.now_ms, 1.0)

    def _publish(self, topic: str, payload: bytes) -> bool:
        if self.connected:
            self.sent_down.append((topic, payload))
            named = parse_topic(topic)[1]
            next((x for x in self.others if x.dcu == named), self.street).handle(Arrived(topic, payload))
        return self.connected

    # ---- time ----

    @property
    def now_ms(self) -> int:
        """The MDM's clock, which is right."""
        return self.street.true_clock.now_ms()

    def wait(self, ms: int) -> None:
        self.street.wind(ms)
        self.street.handle(ClockObserved(ClockSource.VIRTUAL, self.now_ms, self.street.clock.now_ms()))
        self.street.beat()
        self.carry()

    def next_quarter(self, times: int = 1) -> None:
        for _ in range(times):
            self.street.next_quarter()
            self.carry()

    # ---- the API ----

    def send(self, method: str, path: str, key: str = "", token: str | None = None, **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        headers |= {"Idempotency-Key": key} if key else {}
        return self.app.test_client().open(BASE + path, method=method, headers=headers, **more)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.send("GET", path, query_string=query)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json()

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(path, limit=1000, **query)["items"]
        return found

    def order(self, meter_no: int, key: str, **body: Any) -> dict[str, Any]:
        """A command ordered through the API, and carried as far as it goes."""
        answer = self.send("POST", f"/meters/{meter_no}/commands", key, json=body)
        assert answer.status_code == 202, answer.get_data(as_text=True)
        self.carry()
        found: dict[str, Any] = self.get(f"/commands/{answer.get_json()['cmd_id']}")
        return found


@dataclass
class _ChainClock:
    """Business time of the pages and the API: that of the street."""

    street: LittleStreet

    def now_ms(self) -> int:
        return self.street.true_clock.now_ms()

    def factor(self) -> float:
        return 1.0


@contextlib.contextmanager
def chain(
    folder: Path, dlms: int = 1, modbus: int = 0, postpaid: int = 0, connected: bool = True, users: tuple[SeedUser, ...] = (),
    **more: Any,
) -> Iterator[Chain]:
    """`dlms` homes with a switch, then `modbus` ones without; the last `postpaid` of them all are no prepaid accounts.
    `users` may sign in to the pages. `more` is for the street; one whose own clock is off has only the cloud's time."""
    with little_street(folder, dlms, modbus, SIGNER, **more) as street:
        db = fresh_store(folder)
        payments = Payments(SIGNER, GATEWAY)
        meters = tuple(
            StreetMeter(house.serial, key, "is15959" if key.startswith("dlms") else "eastron-sdm230", key.startswith("dlms"))
            for key, house in street.houses.items()
        )
        plan = Plan(DCU, postpaid=postpaid, cut_serials=frozenset(x.serial for x in meters), opening_credit_nano=100 * NANO,
                    users=users)  # fmt: skip
        homes = seed_street(db, payments, meters, plan, START_MS)
        with db.write() as conn:
            conn.execute(update(dcu).values(state="active"))
            token = create_token(conn, "chain", SCOPES, SystemClock().now_ms(), "test")
        app = create_app(WebSettings(b"a secret key of the chain, 32 by", False, "Asia/Kolkata"), db, _ChainClock(street), payments)
        made = Chain(street, db, homes, app, token, payments)
        try:
            if not more.get("own_skew_ms"):
                street.say_time()
            if connected:
                made.connect()
                made.next_quarter()
            yield made
        finally:
            db.close()
