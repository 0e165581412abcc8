"""The MDM of a world: the real store, ingest, publisher, payments, commands and configuration, driven by the world's clock."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, insert, select

from gridtally_cloud.assets import config_publisher
from gridtally_cloud.commands import receipts
from gridtally_cloud.commands import service as commands
from gridtally_cloud.commands.model import CommandRequest
from gridtally_cloud.customers import accounts
from gridtally_cloud.customers.model import Mode
from gridtally_cloud.customers.tables import account, customer, tariff_version
from gridtally_cloud.ingest.service import Ingest
from gridtally_cloud.prepay import (
    control,
    handover,
    instruments,
    keypad,
    managed,
    managed_run,
    policies,
    reconcile,
    replaced,
    shared_wallets,
)
from gridtally_cloud.prepay.capture import handle_webhook, pay_at_desk
from gridtally_cloud.prepay.managed_due import Rounds
from gridtally_cloud.prepay.orders import create_order, place_order
from gridtally_cloud.prepay.refunds import refund_payment
from gridtally_cloud.prepay.settings import Limits, Payments
from gridtally_cloud.prepay.trial_gateway import TrialGateway
from gridtally_cloud.programs import money as schedule_money
from gridtally_cloud.programs import reads as schedule_reads
from gridtally_cloud.programs import service as programs
from gridtally_cloud.programs.model import Booking
from gridtally_cloud.publisher import Publisher
from gridtally_cloud.store import meta
from gridtally_cloud.store.db import Database
from gridtally_cloud.store.tables import dcu, meter, usage_point
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.errors import RefusedCommand
from gridtally_shared.instruments.details import ChargeCorrection, DebtTaken, LimitOrder
from gridtally_shared.lifecycle import SENT_AHEAD_MS, CommandState
from gridtally_shared.money import NANO
from gridtally_shared.schedules.document import Action, Programme
from gridtally_shared.signing import KeySigner
from simulation import wallets
from simulation.plan import DOCUMENTS, Home
from simulation.rim import memory_folder, seeded_system

if TYPE_CHECKING:
    from simulation.world import World

SIGNER = KeySigner.from_seed(b"s" * 32)
JOURNAL_SIGNER = KeySigner.from_seed(b"j" * 32)
GATEWAY = TrialGateway((b"a webhook secret of the simulation",))
CUSTOMER = 1
MANAGED_EVERY_MS, MANAGED_BUSY_MS, MANAGED_REST_MS = 5_000, 60_000, 20 * 60_000


@cache
def _empty_store() -> bytes:
    """A prepared store, made once a process; its bytes do not hang on which world comes first."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder, seeded_system("an empty store"):
        db = Database(Path(folder) / "mdm.db")
        meta.prepare(db)
        with db.engine.connect() as conn:
            conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        return (Path(folder) / "mdm.db").read_bytes()


_IDLE: list[Database] = []
"""Databases whose world is over."""


def _store_at(path: Path) -> Database:
    """The store in a file. An engine goes from world to world, so that its statements are compiled once a process."""
    path.write_bytes(_empty_store())
    db = _IDLE.pop() if _IDLE else _movable(Database(path))
    db.url = f"sqlite:///{path}"
    return db


def _movable(db: Database) -> Database:
    @event.listens_for(db.engine, "do_connect")
    def where_it_is_now(_dialect: Any, _record: Any, names: list[Any], _options: Any) -> None:
        names[0] = db.url.removeprefix("sqlite:///")

    return db


@dataclass
class CloudNode:
    world: World
    folder: Path
    homes: tuple[Home, ...]
    dcus: tuple[str, ...]
    alive: bool = True
    changed: int = 0
    config_due: bool = True
    config_day: int = 0
    counted: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self.folder / "mdm.db"
        self.db = _store_at(path)
        gateway = self.world.bank if self.world.plan.money.cards else GATEWAY
        self.payments = Payments(SIGNER, gateway, {"INR": Limits(1 * NANO, 100_000 * NANO)})
        with self.db.write() as conn:
            self._settle(conn)
        self.eye = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        self.start()

    def _settle(self, conn: Connection) -> None:
        start_ms = self.world.plan.start_ms
        for name in self.dcus:
            self._enrol(conn, name)
        conn.execute(insert(customer).values(customer_no=CUSTOMER, name="Ada Lovelace", created_ms=start_ms))
        for version in self.world.plan.tariffs:
            conn.execute(insert(tariff_version).values(tariff_id=version.tariff_id, version=version.version,
                                                       from_ms=version.from_ms, document=version.document, created_ms=0))  # fmt: skip
        for home in self.homes:
            n = home.meter_no
            conn.execute(insert(usage_point).values(usage_point_no=n, zone=home.zone, created_ms=start_ms))
            conn.execute(insert(meter).values(meter_no=n, serial=home.serial, dcu=self.dcus[0], usage_point_no=n,
                                              interval_s=self.world.plan.interval_ms // 1000, installed_ms=start_ms))  # fmt: skip
            conn.execute(insert(account).values(
                account_no=home.account_no, customer_no=CUSTOMER, usage_point_no=n, meter_no=n, mode="prepaid",
                tariff_id=home.tariff_id, currency="INR", zone=home.zone, opened_ms=start_ms, **accounts.policy_values(home.policy),
            ))  # fmt: skip
            schedule_money.allow_events(conn, home.account_no, True, "simulation", start_ms)
            keypad.offer(conn, home.account_no, True, start_ms, "simulation")
        wallets.opened(conn, self.world)
        rules = self.world.plan.rules
        if rules:
            policies.add_policy(conn, start_ms, DOCUMENTS[rules], start_ms, "simulation")
            for home in self.homes:
                policies.follow(conn, home.account_no, rules, start_ms, "simulation")

    def _enrol(self, conn: Connection, name: str) -> None:
        conn.execute(insert(dcu).values(
            dcu=name, serial=f"S-{name}", state="enrolled", created_ms=self.world.now_ms, journal_key=JOURNAL_SIGNER.public,
            cut_share_per_hour_permille=self.world.plan.cut_share_permille,
        ))  # fmt: skip

    def start(self) -> None:
        """A fresh process over the same store."""
        self.ingest = Ingest(self.db, SIGNER)
        self.publisher = Publisher(self.db, "sim", self._publish)
        self.rounds = Rounds()
        self.alive = True

    def _publish(self, topic: str, payload: bytes) -> bool:
        self.world.link.send_down(topic, payload)
        return True

    def close(self) -> None:
        self.eye.close()
        self.db.close()
        _IDLE.append(self.db)

    # ---- messages ---------------------------------------------------------------------------------------------

    def arrived(self, topic: str, payload: bytes) -> None:
        if not self.alive:
            return
        for answer in self.ingest.handle(topic, payload, self.world.now_ms):
            self.world.link.send_down(answer.topic, answer.payload)
        self.changed += 1
        if topic.endswith("/hello"):
            self.beat()
        elif self.world.plan.money.family:
            self.world.beat_later(self.world.now_ms)
        else:
            soon_ms = self.world.now_ms + MANAGED_EVERY_MS if self.world.from_cloud.accounts else None
            self.world.beat_later(min((ms for ms in (self.next_ms(), soon_ms) if ms is not None), default=None))

    def beat(self) -> None:
        """The worker's regular jobs, where there is something to do."""
        if not self.alive:
            return
        now_ms = self.world.now_ms
        if self.config_due or now_ms // 86_400_000 != self.config_day:
            self.config_due, self.config_day = False, now_ms // 86_400_000
            config_publisher.publish_changes(self.db, SIGNER, now_ms)
        with self.db.read() as conn:
            orders, money = receipts.anything_to_do(conn, now_ms), instruments.waiting_payments(conn)
            orders = orders or bool(schedule_money.unsettled(conn))
        if orders or money:
            with self.db.write() as conn:
                receipts.queue_due(conn, SIGNER, now_ms)
                receipts.reissue_overtaken(conn, SIGNER, now_ms)
                receipts.expire(conn, now_ms)
                schedule_money.settle_ended(conn, SIGNER, now_ms)
                instruments.issue_waiting(conn, SIGNER, now_ms)
        if self.world.plan.money.family:
            wallets.turn(self.db, SIGNER, now_ms)
        if self.world.plan.managed:
            managed_run.run(self.db, SIGNER, now_ms, self.rounds)
        self.publisher.send_due(now_ms, 1.0)
        self.changed += 1
        self.world.beat_later(self.next_ms())

    def next_ms(self) -> int | None:
        """When the publisher has to send again, a command for later is sent ahead, or a schedule that is over is settled."""
        over = "SELECT count(*) FROM schedule s JOIN command c USING (cmd_id) WHERE s.state = 'open' AND c.state >= 20"
        if self.eye.execute(over).fetchone()[0]:
            return self.world.now_ms
        again = self.eye.execute("SELECT min(next_send_ms) FROM outbox_down WHERE done_ms IS NULL").fetchone()[0]
        later = self.eye.execute("SELECT min(not_before_ms) - ? FROM command WHERE state = ?", (SENT_AHEAD_MS, int(CommandState.SCHEDULED)))
        run_ms = self._managed_next_ms() if self.world.plan.managed else None
        return min((int(ms) for ms in (again, later.fetchone()[0], run_ms) if ms is not None), default=None)

    def _managed_next_ms(self) -> int | None:
        """When those the MDM runs are looked at again, if nothing comes before; the real worker does so once a minute."""
        supplies = """SELECT count(m.order_id), count(*) FROM account_swap s LEFT JOIN managed_supply m USING (account_no)
            WHERE s.kind = 'cloud'"""
        moving, of = self.eye.execute(supplies).fetchone()
        busy = moving or self.world.from_cloud.restore_due
        return self.world.now_ms + (MANAGED_BUSY_MS if busy else MANAGED_REST_MS) if of else None

    # ---- people -----------------------------------------------------------------------------------------------

    def _do(self, act: Callable[[Connection], Any]) -> Any:
        """One transaction of a service; what it refuses is said and changes nothing."""
        if not self.alive:
            return None
        try:
            with self.db.write() as conn:
                done = act(conn)
        except RefusedCommand as refusal:
            self.world.note(f"refused: {refusal}")
            return None
        self.changed += 1
        return done

    def pay_cash(self, account_no: int, amount_nano: int, reference: str) -> Any:
        """At a desk, and the clerk presses the button twice."""

        def pay(conn: Connection) -> Any:
            return pay_at_desk(conn, self.payments, account_no, amount_nano, reference, self.world.now_ms, "desk")

        return self._do(pay) and self._do(pay)

    def pay_online(self, account_no: int, amount_nano: int, deliveries: int) -> Any:
        """Through the gateway, whose webhook comes `deliveries` times, or never (0) until `remind`."""
        now_ms = self.world.now_ms
        order = self._do(lambda conn: create_order(conn, self.payments, account_no, amount_nano, now_ms, "consumer"))
        if order is None:
            return None
        order = place_order(self.db, self.payments, order.order_id, now_ms)
        hook = self._do(lambda conn: GATEWAY.choose(conn, order.gateway_order, "card", now_ms))
        for _ in range(deliveries):
            self._do(lambda conn: handle_webhook(conn, self.payments, hook.body, hook.signature, now_ms))
        return hook

    def refund(self, payment_no: int, amount_nano: int) -> Any:
        return self._do(lambda conn: refund_payment(conn, self.payments, payment_no, amount_nano, self.world.now_ms, "desk"))

    def command(self, meter_no: int, kind: CommandType, **request: Any) -> Any:
        asked = CommandRequest(meter_no, kind, "staff:dora", request.pop("cause", "simulation"), **request)
        return self._do(lambda conn: commands.issue(conn, SIGNER, asked, self.world.now_ms))

    def set_policy(self, account_no: int, **changes: Any) -> None:
        def change(conn: Connection) -> None:
            before = accounts.account(conn, account_no).policy
            changed = type(before)(**{name: changes.get(name, getattr(before, name)) for name in before.__slots__})
            accounts.set_policy(conn, account_no, changed, self.world.now_ms, "simulation")

        self._do(change)
        self.config_due = True

    def meter_of(self, account_no: int) -> int:
        """The meter the MDM's books know behind an account."""
        return int(self.eye.execute("SELECT meter_no FROM account WHERE account_no = ?", (account_no,)).fetchone()[0])

    def envelopes_of(self, cmd_id: bytes) -> bytes:
        """What was put on the way down for a command."""
        row = self.eye.execute("SELECT payload FROM outbox_down WHERE channel = 'command' AND ref = ?", (cmd_id.hex(),)).fetchone()
        return bytes(row[0]) if row else b""

    def book(self, account_no: int, start_ms: int, end_ms: int, action: Action = Action.SUPPLY) -> Any:
        """A time frame for a supply (programme A)."""
        wish = Booking(Programme.A, account_no, start_ms, end_ms, "consumer", action=action)
        return self._do(lambda conn: programs.book(conn, SIGNER, wish, self.world.now_ms))

    def event(self, account_no: int, payer_no: int, start_ms: int, end_ms: int, credit_nano: int) -> Any:
        """A time at somebody's supply that somebody else pays for (programme B)."""
        wish = Booking(Programme.B, account_no, start_ms, end_ms, "consumer", requester_no=payer_no, credit_nano=credit_nano)
        return self._do(lambda conn: programs.book(conn, SIGNER, wish, self.world.now_ms))

    def booked(self, account_no: int) -> list[tuple[int, int, int]]:
        """Begin, end and action of everything that was ever booked at a supply, at the times it has now."""
        return self.eye.execute("SELECT start_ms, end_ms, action FROM schedule WHERE account_no = ?", (account_no,)).fetchall()

    def schedules(self) -> list[Any]:
        """Number, command, programme, whose supply, end, whether its money is settled, its credit and what was spent."""
        return self.eye.execute("""SELECT schedule_no, cmd_id, programme, account_no, end_ms, state = 'settled', credit_nano, spent_nano
            FROM schedule""").fetchall()

    def event_money(self, schedule_no: int) -> dict[str, dict[str, int]]:
        """Postings by kind and holder."""
        found: dict[str, dict[str, int]] = {}
        for kind, holder, amount in self.eye.execute(
            "SELECT kind, holder, amount_nano FROM schedule_posting WHERE schedule_no = ?", (schedule_no,)
        ):
            found.setdefault(kind, {})[holder] = amount
        return found

    def unbook(self, schedule_no: int) -> Any:
        return self._do(lambda conn: programs.cancel(conn, SIGNER, schedule_no, "consumer", self.world.now_ms))

    def rebook(self, schedule_no: int, start_ms: int) -> Any:
        def move(conn: Connection) -> Any:
            found = schedule_reads.find(conn, schedule_no)
            end_ms = start_ms + found.end_ms - found.start_ms
            return programs.move(conn, SIGNER, schedule_no, start_ms, end_ms, "consumer", self.world.now_ms)

        return self._do(move)

    def convert(self, account_no: int) -> Any:
        """The other way of paying."""
        mode = Mode.POSTPAID if self.mode_of(account_no) == "prepaid" else Mode.PREPAID
        return self._do(lambda conn: handover.convert(conn, SIGNER, account_no, mode, self.world.now_ms, "desk"))

    def mode_of(self, account_no: int) -> str:
        return str(self.eye.execute("SELECT mode FROM account WHERE account_no = ?", (account_no,)).fetchone()[0])

    def replace_box(self, dead: str, name: str) -> Any:
        """Another concentrator in place of a dead one; the accounts it takes over."""

        def replace(conn: Connection) -> Any:
            self._enrol(conn, name)
            return replaced.replace_whole_edge(conn, SIGNER, dead, name, self.world.now_ms, "desk")

        self.config_due = True
        return self._do(replace)

    def manage(self, account_no: int, by: Managed) -> Any:
        """The MDM runs an account, or its box does; the new epoch."""
        self.config_due = True
        return self._do(lambda conn: managed.manage(conn, SIGNER, account_no, by, self.world.now_ms, "desk"))

    def is_newest(self, account_no: int, epoch: int) -> bool:
        return self.eye.execute("SELECT account_epoch FROM account WHERE account_no = ?", (account_no,)).fetchone() == (epoch,)

    def is_managed(self, account_no: int) -> bool:
        found = self.eye.execute("SELECT 1 FROM account_swap WHERE account_no = ? AND kind = 'cloud'", (account_no,)).fetchone()
        return found is not None

    def swap_meter(self, account_no: int, meter_no: int, serial: str, closing_wh: int | None, opening_wh: int | None) -> bool:
        """Another meter behind an account, as its work order says; False where that is refused."""
        now_ms = self.world.now_ms

        def swap(conn: Connection) -> bool:
            point = conn.execute(select(account.c.usage_point_no).where(account.c.account_no == account_no)).scalar_one()
            conn.execute(insert(meter).values(meter_no=meter_no, serial=serial, dcu=self.world.edge.dcu, usage_point_no=point,
                                              interval_s=self.world.plan.interval_ms // 1000, installed_ms=now_ms))  # fmt: skip
            replaced.swap_meter(conn, SIGNER, account_no, meter_no, closing_wh, opening_wh, now_ms, "desk")
            return True

        self.config_due = True
        return bool(self._do(swap))

    def told_registers(self, account_no: int) -> tuple[int | None, int | None]:
        """The registers of the last swap as the box is told them: where the old meter ended, where the new one begins."""
        row = self.eye.execute("SELECT closing_wh, opening_wh FROM account_swap WHERE account_no = ?", (account_no,)).fetchone()
        return (row[0], row[1]) if row else (None, None)

    def code_of(self, account_no: int, gseq: int, epoch: int) -> Any:
        """The keypad code of an instrument, where one fits."""
        return self._do(lambda conn: keypad.code_of(conn, account_no, gseq, epoch))

    def test_order(self, account_no: int) -> Any:
        return self._do(lambda conn: control.show_test(conn, SIGNER, account_no, self.world.now_ms, "desk"))

    def debt(self, account_no: int, amount_nano: int, by: str) -> Any:
        """A debt the account takes on."""
        return self._do(lambda conn: control.order(conn, SIGNER, account_no, DebtTaken(by), self.world.now_ms, "desk", amount_nano))

    def correct(self, account_no: int, amount_nano: int) -> Any:
        """Charges of yesterday were wrong: given back, or a debt."""
        now_ms = self.world.now_ms
        detail = ChargeCorrection("reading", now_ms - 86_400_000, now_ms)
        return self._do(lambda conn: control.correct(conn, SIGNER, account_no, amount_nano, detail, now_ms, "desk"))

    def ask_back(self, account_no: int) -> Any:
        """What an account has of its wallet and did not use."""
        return self._do(lambda conn: shared_wallets.ask_back(conn, SIGNER, account_no, self.world.now_ms))

    def control(self, account_no: int, detail: control.Order) -> Any:
        return self._do(lambda conn: control.order(conn, SIGNER, account_no, detail, self.world.now_ms, "desk"))

    def limit(self, account_no: int, watts: int) -> Any:
        return self._do(lambda conn: control.order(conn, SIGNER, account_no, LimitOrder(watts), self.world.now_ms, "desk"))

    def mismatches(self) -> tuple[Any, ...]:
        with self.db.read() as conn:
            return reconcile.reconcile(conn)
