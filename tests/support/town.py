"""A chain (support/chain.py) with people in it: customers who pay, a bank that answers, a desk that orders, and eyes on both
ends. For prepayment scenarios, step by step, by one clock wound by hand.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select, update

from gridtally_cloud.app import create_app
from gridtally_cloud.commands import service as commands
from gridtally_cloud.commands import states
from gridtally_cloud.commands.model import CommandRequest, CommandView
from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.model import Role
from gridtally_cloud.customers.seed import Plan, SeedUser, seed_street
from gridtally_cloud.customers.street_file import DRIVERS, StreetMeter
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.model import BalanceView, Order
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.store.tables import dcu, journal_entry
from gridtally_cloud.web.site import WebSettings
from gridtally_cloud.web.tokens import SCOPES, create_token
from gridtally_edge.display.account import AccountView
from gridtally_edge.display.door import Door
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import Words
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.polling.plans import DEFAULT_PLAN, PollPlan
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.simulators.house import HouseMeter
from gridtally_edge.sync.mqtt import LinkUp
from gridtally_shared.clock import SystemClock
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.channels import parse_topic
from gridtally_shared.contract.codec import decode
from gridtally_shared.ledger.entries import Kind, LedgerEntry, entry_from
from gridtally_shared.ledger.evidence import DecisionEvidence, evidence_of
from gridtally_shared.money import nano
from support.chain import GATEWAY, SIGNER, Chain
from support.little_street import DCU, little_street
from support.stores import fresh_store
from support.web_person import Person

PASSWORD = "seven green umbrellas"
Loss = Callable[[str, bytes], bool]


@dataclass
class Town(Chain):
    """All homes are prepaid and named by their place. `lose_down` says of a message (channel, payload) that it never
    arrives, though the broker took it."""

    payments: Payments = field(kw_only=True)
    lose_down: Loss = field(default=lambda channel, payload: False, kw_only=True)

    def _publish(self, topic: str, payload: bytes) -> bool:
        if self.connected and self.lose_down(parse_topic(topic)[0].name, payload):
            return True
        return super()._publish(topic, payload)

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        self.cut()
        try:
            yield
        finally:
            self.connect()

    def connect_slowly(self, ms_each: int) -> None:
        """A link that needs `ms_each` for every message upward; each goes in the order in which it was said."""
        self.connected = True
        self.street.handle(LinkUp())
        while self._taken < len(self.street.published):
            self.street.wind(ms_each)
            later, self.street.published[self._taken + 1 :] = self.street.published[self._taken + 1 :], []
            self._carry_up()
            self.street.published[self._taken :] = [*later, *self.street.published[self._taken :]]

    def live(self, until: Callable[[], bool], at_most_days: int = 4) -> None:
        """Quarter by quarter, until something has happened."""
        for _ in range(at_most_days * 96):
            if until():
                return
            self.next_quarter()
        raise AssertionError(f"not within {at_most_days} days")

    # ---- people -----------------------------------------------------------------------------------------------

    def account_no(self, place: int = 0) -> int:
        return self.homes[place].account_no

    def meter_no(self, place: int = 0) -> int:
        return self.homes[place].meter_no

    def order_recharge(self, amount: str, place: int = 0) -> Order:
        return prepay.order_payment(self.db, self.payments, self.account_no(place), nano(amount), self.now_ms, "consumer:asha")

    def bank_answers(self, order: Order, choice: str = "card", times: int = 1, signature: str | None = None) -> None:
        """The gateway says what became of an order, as often as it likes."""
        with self.db.write() as conn:
            webhook = GATEWAY.choose(conn, order.gateway_order, choice, self.now_ms)
        for _ in range(times):
            with self.db.write() as conn:
                prepay.handle_webhook(conn, self.payments, webhook.body, signature or webhook.signature, self.now_ms)

    def pay(self, amount: str, choice: str = "card", place: int = 0) -> Order:
        """A recharge that goes on its way at once."""
        order = self.order_recharge(amount, place)
        self.bank_answers(order, choice)
        self.carry()
        return order

    def command(self, kind: m.CommandType, place: int = 0, **request: Any) -> bytes:
        """The desk orders; the command's id. It leaves with the next `carry`."""
        asked = CommandRequest(self.meter_no(place), kind, "staff:dora", request.pop("cause", "test"), **request)
        with self.db.write() as conn:
            return commands.issue(conn, SIGNER, asked, self.now_ms).cmd_id

    def policy(self, place: int = 0, **changes: Any) -> None:
        """Other rules for an account, on their way with the next configuration."""
        with self.db.write() as conn:
            before = accounts.account(conn, self.account_no(place)).policy
            changed = type(before)(**{name: changes.get(name, getattr(before, name)) for name in before.__slots__})
            accounts.set_policy(conn, self.account_no(place), changed, self.now_ms, "test")

    def person(self, login: str) -> Person:
        return Person(self.app, login)

    # ---- eyes on the spot ---------------------------------------------------------------------------------------

    def house(self, place: int = 0) -> HouseMeter:
        return tuple(self.street.houses.values())[place]

    def is_dark(self, place: int = 0) -> bool:
        """By the meter's own contactor."""
        return self.house(place).switch() is SwitchState.OPEN

    @property
    def money(self) -> sqlite3.Connection:
        return self.street.core.prepay.outbox.connection

    @property
    def readings(self) -> sqlite3.Connection:
        return self.street.core.journal.outbox.connection

    def display(self, place: int = 0) -> AccountView:
        """What the page on the spot is made from."""
        view = Door(self.street.folder / "money.db").view(self.money, self.account_no(place), self.now_ms)
        assert view is not None
        return view

    def display_page(self, place: int = 0, language: str = "en") -> str:
        view = self.display(place)
        return balance_page(Words(language, view.config.currency, zone_of(view.config.zone)), view).replace("\xa0", " ")

    def journal(self, place: int = 0) -> list[LedgerEntry]:
        """As the concentrator has it."""
        return entries_of(self.money, self.account_no(place), 1)

    def decisions(self, place: int = 0) -> list[DecisionEvidence]:
        found = (evidence_of(e) for e in self.journal(place) if e.kind == Kind.DECISION)
        return [e for e in found if isinstance(e, DecisionEvidence)]

    # ---- eyes in the cloud --------------------------------------------------------------------------------------

    def site(self, place: int = 0) -> BalanceView:
        """The account as the MDM's pages have it."""
        with self.db.read() as conn:
            return prepay.balance(conn, self.account_no(place))

    def mirrored(self, place: int = 0) -> list[tuple[LedgerEntry, int]]:
        """The journal as the MDM has it, with the time each entry came."""
        j = journal_entry.c
        with self.db.read() as conn:
            rows = conn.execute(select(j.body, j.received_ms).where(j.account_no == self.account_no(place)).order_by(j.seq))
            return [(entry_from(bytes(r.body)), r.received_ms) for r in rows]

    def commanded(self, cmd_id: bytes) -> CommandView:
        with self.db.read() as conn:
            found = states.find(conn, cmd_id)
        assert found is not None
        return found

    def count(self, table: Table) -> int:
        with self.db.read() as conn:
            return int(conn.execute(select(func.count()).select_from(table)).scalar_one())

    # ---- the message list of the run ------------------------------------------------------------------------------

    def entries_up(self) -> list[m.Entry]:
        """Every entry that went up, once, in the order of their numbers."""
        batches = [decode(m.Batch, payload) for topic, payload in self.sent_up if parse_topic(topic)[0].message is m.Batch]
        found = {(b.stream_id, b.lane, e.seq): e for b in batches for e in b.entries}
        return [found[key] for key in sorted(found)]

    def said_up(self, kind: m.EntryKind) -> list[Any]:
        return [decode(m.ENTRY_TYPES[kind], e.body) for e in self.entries_up() if e.kind == kind]

    def receipts(self, cmd_id: bytes) -> list[m.CommandReceipt]:
        return [r for r in self.said_up(m.EntryKind.COMMAND_RECEIPT) if r.cmd_id == cmd_id]


@contextlib.contextmanager
def town(
    folder: Path, dlms: int = 1, modbus: int = 0, opening: str = "0", low: str = "2", pv_w: int = 0, plan: PollPlan = DEFAULT_PLAN
) -> Iterator[Town]:
    """Homes with a switch may be cut, also offline. Nobody has connected yet."""
    (folder / "edge").mkdir()
    with little_street(folder / "edge", dlms, modbus, SIGNER, pv_w, plan=plan) as street:
        meters = tuple(
            StreetMeter(house.serial, kind, DRIVERS[kind], kind == "dlms")
            for kind, house in ((key.partition("/")[0], house) for key, house in street.houses.items())
        )
        db = fresh_store(folder)
        payments, now_ms = Payments(SIGNER, GATEWAY), street.clock.now_ms()
        installation = Plan(
            DCU, postpaid=0, cut_serials=frozenset(x.serial for x in meters if x.has_switch), opening_credit_nano=nano(opening),
            low_balance_nano=nano(low), users=_people(meters[0].serial),
        )  # fmt: skip
        homes = seed_street(db, payments, meters, installation, now_ms)
        with db.write() as conn:
            conn.execute(update(dcu).values(state="active"))
            token = create_token(conn, "town", SCOPES, SystemClock().now_ms(), "test")
        app = create_app(WebSettings(b"a secret key of the tests, 32 b..", False, "Asia/Kolkata"), db, street.clock, payments)
        try:
            yield Town(street, db, homes, app, token, payments=payments)
        finally:
            db.close()


def _people(serial: str) -> tuple[SeedUser, ...]:
    staff = (("dora", "desk"), ("otto", "operations"), ("ada", "admin"))
    made = tuple(SeedUser(login, login.title(), Role(role), PASSWORD) for login, role in staff)
    return (SeedUser("asha", "Asha Rao", Role.CONSUMER, PASSWORD, serial, display_pin="4711"), *made)
