"""Two homes alike on one street: one is run by its concentrator, the other from the MDM; the same is used, paid and switched in both.

The concentrator is the real core, the MDM the real store and services. The meters are registers and switches that do what an order that
reaches them says; what crosses the broker is carried by hand, so that a test can keep it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import select, update

from gridtally_cloud.commands import receipts
from gridtally_cloud.customers.accounts import account as account_of
from gridtally_cloud.customers.tables import account as account_table
from gridtally_cloud.ingest.measurements import take_readings, take_status
from gridtally_cloud.ingest.mirror import verified
from gridtally_cloud.prepay import managed_run
from gridtally_cloud.prepay.managed import manage
from gridtally_cloud.prepay.managed_supply import Supply, supply_of
from gridtally_cloud.store import meta
from gridtally_cloud.store.tables import outbox_down
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.sqlite import open_store, transaction
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.contract.messages import MeterStatus, Readings, Value
from gridtally_shared.contract.prepay_messages import Managed
from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.ledger.evidence import DecisionEvidence, MessageEvidence, SwitchEvidence, evidence_of
from gridtally_shared.quantities import ENERGY_IMPORT
from support import stores
from support.linked_pair import LinkedPair
from support.payday import OPENED_WH, SIGNER
from support.stores import Kept, keep

LOCAL, REMOTE = 0, 1
QUARTER_MS = 900_000
REACHED = {True: SwitchState.CLOSED, False: SwitchState.OPEN}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`money`: the files of the box's store by name."""

    store: Kept
    money: dict[str, bytes]
    now_ms: int
    switches: dict[int, SwitchState]
    registers: dict[int, int]


@dataclass
class ManagedStreet(LinkedPair):
    """`switches` and `registers` by home. `answers` False: the meters are silent. `between`: what happens while an order waits for its
    line, before the meter sees it."""

    switches: dict[int, SwitchState] = field(default_factory=lambda: {LOCAL: SwitchState.CLOSED, REMOTE: SwitchState.CLOSED})
    registers: dict[int, int] = field(default_factory=lambda: {LOCAL: OPENED_WH, REMOTE: OPENED_WH})
    ordered: list[p.RunSwitch] = field(default_factory=list)
    between: Callable[[], None] = lambda: None

    def begin(self, **values: object) -> None:
        """Both homes under the same rules, one of them managed from here."""
        with self.db.write() as conn:
            conn.execute(update(account_table).values(**values))
            manage(conn, SIGNER, self.no(REMOTE), Managed.CLOUD, self.now_ms, "asha")
        self.configure()
        self.greet()

    def snapshot(self) -> Snapshot:
        """Both stores and the meters as they are."""
        money = {file.name: file.read_bytes() for file in self.folder.glob("money.db*")}
        return Snapshot(keep(self.db), money, self.now_ms, dict(self.switches), dict(self.registers))

    def go_back(self, to: Snapshot) -> None:
        """The street as it was: what was made once serves many tests. The box starts anew."""
        self.money.close()
        for file in self.folder.glob("money.db*"):
            file.unlink()
        for name, held in to.money.items():
            (self.folder / name).write_bytes(held)
        stores.put_back(self.db, to.store)
        self.now_ms, self.switches, self.registers = to.now_ms, dict(to.switches), dict(to.registers)
        self.ordered, self.between = [], lambda: None
        self.money = open_store(self.path, MONEY_STORE)
        self.restart()
        self.greet()

    def put_back(self, backup: Snapshot) -> None:
        """The MDM starts from an older copy of its store, and says so; what the box sends from now on comes in a new stream."""
        stores.put_back(self.db, backup.store)
        with self.db.write() as conn:
            meta.note_restore(conn, self.now_ms)
        with transaction(self.money):
            self.edge.outbox.renew_stream()

    def reissue(self) -> None:
        """Orders go out, and those a newer number overtook once more."""
        for _ in range(3):
            self.settle()
            with self.db.write() as conn:
                receipts.reissue_overtaken(conn, SIGNER, self.now_ms)

    def no(self, home: int) -> int:
        return self.homes[home].account_no

    def home_of(self, meter_no: int) -> int:
        return next(i for i, home in enumerate(self.homes) if home.meter_no == meter_no)

    # ---- the meters

    def tell(self, event: p.PrepayEvent) -> None:
        for effect in self.edge.handle(event, self.now_ms):
            if isinstance(effect, p.RunSwitch):
                self.ordered.append(effect)
                self.between()
                self.tell(p.SwitchFinished(effect.action_id, self._obey(effect)))

    def _obey(self, order: p.RunSwitch) -> p.SwitchOutcome:
        home = self.home_of(order.meter_no)
        before, wh = self.switches[home], self.registers[home]

        def outcome(result: p.SwitchResult, after: SwitchState, sent: bool) -> p.SwitchOutcome:
            return p.SwitchOutcome(result, order.serial, before, after, sent, self.now_ms, wh, self.now_ms)

        if not order.permit.granted() or self.now_ms > order.latest_ms:
            return outcome(p.SwitchResult.WITHDRAWN, before, False)
        if order.min_register_wh is not None and wh < order.min_register_wh:
            return outcome(p.SwitchResult.NO_REGISTER, before, False)
        self.switches[home] = SwitchState.ARMED if order.arm else REACHED[order.close]
        return outcome(p.SwitchResult.DONE, self.switches[home], True)

    def use(self, wh: int, home: int | None = None) -> None:
        """Each home that has supply, or one, uses so much."""
        for each in (LOCAL, REMOTE) if home is None else (home,):
            self.registers[each] += wh if self.switches[each] is not SwitchState.OPEN else 0

    def sweep(self) -> None:
        """Both meters are read; the MDM hears of it."""
        for home in (LOCAL, REMOTE):
            self.observe(home)

    def observe(self, home: int) -> None:
        seeded, wh = self.homes[home], self.registers[home]
        self.tell(p.MeterRead(seeded.meter_no, seeded.serial, self.now_ms, wh, switch=self.switches[home]))
        with self.db.write() as conn:
            arrival = self.arrival(conn)
            take_readings(arrival, Readings((Value(seeded.meter_no, ENERGY_IMPORT.code, self.now_ms, wh),)))
            take_status(arrival, MeterStatus(seeded.meter_no, self.now_ms, True, self.switches[home].value))

    # ---- the MDM

    def manage_on(self) -> int:
        return managed_run.run(self.db, SIGNER, self.now_ms)

    def quarter(self, wh: int = 0, ms: int = QUARTER_MS) -> None:
        """A quarter of an hour in both homes: time, use, a reading, the MDM's run, its orders, their receipts."""
        self.wait(ms)
        self.use(wh)
        self.sweep()
        self.settle()

    def settle(self) -> None:
        """The MDM decides, its orders go out, their receipts come back, until it orders nothing more."""
        for _ in range(4):
            self.manage_on()
            sent = self.carry_commands()
            self.sync()
            if not sent:
                return

    def pay_both(self, amount: str) -> None:
        for home in (LOCAL, REMOTE):
            self.pay(amount, self.no(home))
        self.carry_down()
        self.settle()

    def commands(self) -> list[bytes]:
        """Signed commands that have no receipt yet, oldest first."""
        o = outbox_down.c
        query = select(o.payload).where(o.channel == "command", o.done_ms.is_(None)).order_by(o.outbox_no)
        with self.db.read() as conn:
            return [bytes(x) for x in conn.execute(query).scalars()]

    def hand_over(self) -> list[bytes]:
        """The commands leave the house; whether they arrive is the test's affair."""
        envelopes, o = self.commands(), outbox_down.c
        with self.db.write() as conn:
            waiting = (o.channel == "command", o.done_ms.is_(None))
            conn.execute(update(outbox_down).where(*waiting).values(attempts=o.attempts + 1, last_sent_ms=self.now_ms))
        return envelopes

    def carry_commands(self) -> int:
        envelopes = self.hand_over()
        for envelope in envelopes:
            self.tell(p.CommandArrived(envelope))
        return len(envelopes)

    # ---- what came of it

    def journal(self, home: int) -> list[LedgerEntry]:
        with self.db.read() as conn:
            account = account_of(conn, self.no(home))
            return list(verified(conn, account.account_no, account.account_epoch, 1))

    def supply(self, home: int = REMOTE) -> Supply:
        with self.db.read() as conn:
            found = supply_of(conn, self.no(home), account_of(conn, self.no(home)).account_epoch)
        assert found is not None
        return found

    def story(self, home: int) -> list[str]:
        """What was told, decided and switched, in order and without times."""
        told = (evidence_of(entry) for entry in self.journal(home) if entry.kind in (Kind.NOTICE, Kind.DECISION, Kind.SWITCH))
        return [_said(evidence) for evidence in told]


def _said(evidence: object) -> str:
    match evidence:
        case MessageEvidence():
            return evidence.code.removesuffix("_BARE")
        case DecisionEvidence():
            blocked = ",".join(t.name for t in evidence.tests if not t.holds)
            return f"{evidence.verdict} by {evidence.transition}: {blocked or 'all hold'}"
        case SwitchEvidence():
            return f"{'close' if evidence.close else 'open'} {evidence.result}"
    return ""
