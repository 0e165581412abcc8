"""Both ends and what is between them, by one clock wound by hand: the MDM's store, services, ingest, publisher and pages;
the concentrator's real core and stores; simulated meters behind real drivers.

What would cross the broker is handed over in its final bytes, step by step, so that a test decides every moment: the uplink
may be away, and a single message may be lost. `up` and `down` keep all that crossed: the message list of the run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import update

from gridtally_cloud.app import create_app
from gridtally_cloud.assets import config_publisher
from gridtally_cloud.commands import receipts, states
from gridtally_cloud.commands import service as commands
from gridtally_cloud.commands.model import CommandRequest, CommandView
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.seed import Plan, SeededHome, SeedUser, seed_street
from gridtally_cloud.customers.street_file import DRIVERS, StreetMeter
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.model import BalanceView, Order
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store import meta
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import dcu
from gridtally_cloud.web.site import WebSettings
from gridtally_edge.core_events import Beat
from gridtally_edge.display.account import AccountView, view_account
from gridtally_edge.prepay.events import ClockObserved, ClockSource
from gridtally_edge.simulators.house import HouseMeter
from gridtally_edge.sync.mqtt import Arrived, LinkLost, LinkUp
from gridtally_shared.contract.channels import BY_NAME, parse_topic
from gridtally_shared.contract.codec import encode
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.money import nano
from gridtally_shared.signing import KeySigner
from support.little_street import DCU, LittleStreet, little_street
from support.payday import GATEWAY
from support.web_person import Person

PASSWORD = "seven green umbrellas"
SIGNER = KeySigner.from_seed(b"t" * 32)
Down = tuple[str, bytes]
"""A message to the concentrator: channel and payload."""


@dataclass
class Town:
    """`homes` in the order of `street.houses`; the first `dlms` of them have a switch, and all are prepaid."""

    street: LittleStreet
    db: Database
    homes: tuple[SeededHome, ...]
    payments: Payments
    lose_down: Callable[[Down], bool] = lambda message: False
    lose_up: Callable[[str], bool] = lambda channel: False
    down: list[Down] = field(default_factory=list)
    up: list[tuple[str, Any]] = field(default_factory=list)
    is_online: bool = False

    def __post_init__(self) -> None:
        self.ingest = Ingest(self.db, SIGNER)
        self.publisher = Publisher(self.db, "town", self._hand_down)

    @property
    def now_ms(self) -> int:
        return self.street.clock.now_ms()

    # ---- the way up and down ----------------------------------------------------------------------------------

    def exchange(self) -> None:
        """All that is on its way arrives, until nobody has anything more to say now."""
        for _ in range(200):
            if not (self._hand_up() + self.publisher.send_due(self.now_ms, 1.0)):
                return
        raise AssertionError("the two ends never stop talking")

    def _hand_down(self, topic: str, payload: bytes) -> bool:
        message = (parse_topic(topic)[0].name, payload)
        if self.is_online and not self.lose_down(message):
            self.down.append(message)
            self.street.handle(Arrived(topic, payload))
        return True

    def _hand_up(self) -> int:
        said, self.street.published[:] = tuple(self.street.published), []
        for name, message in said if self.is_online else ():
            if not self.lose_up(name):
                self.up.append((name, message))
                for answer in self.ingest.handle(BY_NAME[name].topic(DCU), encode(message), self.now_ms):
                    self._hand_down(answer.topic, answer.payload)
        return len(said)

    def connect(self) -> None:
        self.is_online = True
        self.street.handle(LinkUp())
        self.work()

    def disconnect(self) -> None:
        self.is_online = False
        self.street.handle(LinkLost("the test cut it"))

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        self.disconnect()
        try:
            yield
        finally:
            self.connect()

    # ---- time -------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """What the worker and the agent do again and again, once, at this moment."""
        now_ms = self.now_ms
        config_publisher.publish_changes(self.db, SIGNER, now_ms)
        with self.db.write() as conn:
            receipts.queue_due(conn, SIGNER, now_ms)
            receipts.reissue_overtaken(conn, SIGNER, now_ms)
            receipts.expire(conn, now_ms)
        self.exchange()

    def wait(self, ms: int) -> None:
        """Let time pass in one step."""
        self.street.wind(ms)
        self.street.handle(ClockObserved(ClockSource.NTP, self.now_ms, self.now_ms))
        self.street.handle(Beat())
        self.work()

    def next_quarter(self, times: int = 1) -> None:
        """To a little after the next interval's end: the meters are read."""
        for _ in range(times):
            self.street.next_quarter()
            self.work()

    def live(self, until: Callable[[], bool], at_most_days: int = 4) -> None:
        """Quarter by quarter, until something has happened."""
        for _ in range(at_most_days * 96):
            if until():
                return
            self.next_quarter()
        raise AssertionError(f"not within {at_most_days} days")

    # ---- people -----------------------------------------------------------------------------------------------

    def order_recharge(self, place: int, amount: str) -> Order:
        with self.db.write() as conn:
            account_no = self.homes[place].account_no
            return prepay.create_order(conn, self.payments, account_no, nano(amount), self.now_ms, f"consumer:{place}")

    def bank_answers(self, order: Order, choice: str = "card", times: int = 1, signature: str | None = None) -> None:
        """The gateway says what became of an order, as often as it likes."""
        with self.db.write() as conn:
            webhook = GATEWAY.choose(conn, order.gateway_order, choice, self.now_ms)
        for _ in range(times):
            with self.db.write() as conn:
                prepay.handle_webhook(conn, self.payments, webhook.body, signature or webhook.signature, self.now_ms)

    def pay(self, place: int, amount: str, choice: str = "card") -> Order:
        """A recharge that arrives."""
        order = self.order_recharge(place, amount)
        self.bank_answers(order, choice)
        self.exchange()
        return order

    def command(self, place: int, kind: CommandType, **request: Any) -> bytes:
        """The desk orders; its id. It is not on its way before the next exchange."""
        asked = CommandRequest(self.homes[place].meter_no, kind, "staff:dora", request.pop("cause", "test"), **request)
        with self.db.write() as conn:
            return commands.issue(conn, SIGNER, asked, self.now_ms).cmd_id

    # ---- looking ----------------------------------------------------------------------------------------------

    def house(self, place: int) -> HouseMeter:
        return tuple(self.street.houses.values())[place]

    def commanded(self, cmd_id: bytes) -> CommandView:
        with self.db.read() as conn:
            found = states.find(conn, cmd_id)
        assert found is not None
        return found

    def site(self, place: int) -> BalanceView:
        """The account as the MDM's pages have it."""
        with self.db.read() as conn:
            return prepay.balance(conn, self.homes[place].account_no)

    def display(self, place: int) -> AccountView:
        """The account as the page on the spot has it."""
        view = view_account(self.money, self.homes[place].account_no, self.now_ms)
        assert view is not None
        return view

    @property
    def money(self) -> Any:
        """The connection of money.db."""
        return self.street.core.prepay.outbox.connection

    @property
    def readings(self) -> Any:
        """The connection of readings.db."""
        return self.street.core.journal.outbox.connection

    def app(self) -> Flask:
        settings = WebSettings(b"a secret key of the tests, 32 b..", False, "Asia/Kolkata")
        return create_app(settings, self.db, self.street.clock, self.payments)

    def person(self, login: str) -> Person:
        return Person(self.app(), login)


@contextlib.contextmanager
def town(folder: Path, dlms: int = 1, modbus: int = 0, opening: str = "0", **plan: Any) -> Iterator[Town]:
    """Homes with a switch may be cut, also offline. Nobody has connected yet."""
    (folder / "edge").mkdir()
    with little_street(folder / "edge", dlms, modbus, SIGNER) as street:
        kinds = [key.partition("/")[0] for key in street.houses]
        meters = tuple(
            StreetMeter(h.serial, kind, DRIVERS[kind], kind == "dlms") for kind, h in zip(kinds, street.houses.values(), strict=True)
        )
        db = Database(folder / "mdm.db")
        meta.prepare(db)
        payments = Payments(SIGNER, GATEWAY)
        made = Plan(
            DCU, postpaid=0, cut_serials=frozenset(x.serial for x in meters if x.has_switch), opening_credit_nano=nano(opening),
            users=_people(meters[0].serial), **plan,
        )  # fmt: skip
        homes = seed_street(db, payments, meters, made, street.clock.now_ms())
        with db.write() as conn:
            conn.execute(update(dcu).values(state="active"))
        try:
            yield Town(street, db, homes, payments)
        finally:
            db.close()


def _people(serial: str) -> tuple[SeedUser, ...]:
    staff = (("dora", "desk"), ("otto", "operations"), ("ada", "admin"))
    made = tuple(SeedUser(login, login.title(), Role(role), PASSWORD) for login, role in staff)
    return (SeedUser("asha", "Asha Rao", Role.CONSUMER, PASSWORD, serial, display_pin="4711"), *made)
