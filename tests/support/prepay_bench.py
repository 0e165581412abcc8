"""A prepay core on a real money.db, driven by hand: signed instruments and commands in, entries and receipts out."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.journal.sqlite import migrate, open_store
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.book import entries_of
from gridtally_edge.prepay.core import Identity, PrepayCore
from gridtally_edge.prepay.store import MONEY_STORE
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import decode, encode
from gridtally_shared.contract.prepay_messages import CalendarDocument, PolicyDocument
from gridtally_shared.ledger.entries import Kind, LedgerEntry
from gridtally_shared.ledger.evidence import DecisionEvidence, evidence_of
from gridtally_shared.ledger.replay import LedgerState, Problem, replay
from gridtally_shared.lifecycle import COMMAND_RULES, Reason
from gridtally_shared.meter_settings import SettingKind
from gridtally_shared.money import nano
from gridtally_shared.signing import KeySigner, sign1

START_MS = 1_772_430_000_000  # 2026-03-02 05:40 UTC, 11:10 in Kolkata
KEYPAD_KEY = b"k" * 16
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SIGNER = KeySigner.from_seed(b"c" * 32)
FLAT = {"kind": "flat", "currency": "INR", "energy_per_kwh": "8.00", "fixed_per_day": "0", "tax_percent": "5"}


@cache
def _template() -> Path:
    path = Path(tempfile.mkdtemp(prefix="gridtally-bench-")) / "money.db"
    migrate(path, MONEY_STORE)
    return path


def serial_of(meter_no: int) -> str:
    return f"GT{meter_no:04d}"


def account_of(meter_no: int, **policy: Any) -> m.AccountConfig:
    """A prepaid account that may be cut at once, unless `policy` says otherwise."""
    base = m.AccountConfig(100 + meter_no, 1, meter_no, "INR", "Asia/Kolkata", "home", nano("10"), "disconnect", "allowed")
    return replace(base, **{"keypad_key": KEYPAD_KEY} | policy)


def tariff(from_ms: int = 0, version: int = 1, **changes: str) -> m.TariffDocument:
    return m.TariffDocument("home", version, from_ms, json.dumps(FLAT | changes))


def mode_questions(effects: Iterable[p.PrepayEffect]) -> list[p.RunTask]:
    """What meters are asked before a change of the way of paying."""
    tasks = (e for e in effects if isinstance(e, p.RunTask) and e.type is m.CommandType.WRITE_SETTINGS)
    return [t for t in tasks if t.settings[0].kind == SettingKind.PAYMENT_MODE]


@dataclass
class Bench:
    """Meter 1 .. `meters`, account 101 .. behind them. Starts trusted, online, configured and opened at 1,000,000 Wh,
    with nothing paid. `takes_mode` is what the meters answer to another payment mode: '' for done, None for nothing."""

    folder: Path
    meters: int = 1
    policy: dict[str, Any] = field(default_factory=dict)
    tariffs: tuple[m.TariffDocument, ...] = (tariff(),)
    ready: bool = True
    documents: tuple[PolicyDocument, ...] = ()
    calendars: tuple[CalendarDocument, ...] = ()
    takes_mode: str | None = Reason.UNSUPPORTED

    def __post_init__(self) -> None:
        self.path = self.folder / "money.db"
        shutil.copy(_template(), self.path)
        self.now_ms = START_MS
        self.version = 0
        self.boots = 0
        self.next_gseq: dict[int, int] = {}
        self.next_counter = 1
        self.commands: dict[bytes, m.Command] = {}
        self.effects: list[p.PrepayEffect] = []
        self.open()
        if self.ready:
            self.trust()
            self.online()
            self.configure()
            self.read_all(1_000_000)
            self.effects.clear()

    # ---- life of the process ----

    def open(self) -> None:
        self.boots += 1
        self.db = open_store(self.path, MONEY_STORE)
        identity = Identity("dcu-1", {SIGNER.key_id: SIGNER.public}, self.boots.to_bytes(16, "big"))
        self.core = PrepayCore(self.db, identity)
        self.effects.extend(self.core.start(self.now_ms))

    def restart(self) -> None:
        """As after a power cut between two transactions: everything in memory is gone."""
        self.db.close()
        self.effects.clear()
        self.open()

    # ---- events ----

    def tell(self, event: p.PrepayEvent) -> tuple[p.PrepayEffect, ...]:
        effects = self.core.handle(event, self.now_ms)
        self.effects.extend(effects)
        if self.takes_mode is not None:
            for asked in mode_questions(effects):
                no = bool(self.takes_mode)
                self.tell(p.ReadFinished(asked.cmd_id, not no, self.now_ms, reason=self.takes_mode, refused=no))
        return effects

    def wait(self, ms: int) -> None:
        """Let time pass, and say so to the core."""
        self.now_ms += ms
        self.tell(p.Tick())

    def trust(self) -> None:
        self.tell(p.ClockObserved(p.ClockSource.NTP, self.now_ms, self.now_ms))

    def online(self) -> None:
        self.tell(p.LinkChanged(True))
        self.tell(p.WelcomeSeen(self.now_ms))

    def offline(self) -> None:
        self.tell(p.LinkChanged(False))

    def configure(self, lease_ms: int = 7 * DAY_MS, share_permille: int = 1000, **policy: Any) -> None:
        self.version += 1
        self.policy = self.policy | policy
        numbers = range(1, self.meters + 1)
        self.tell(p.ConfigAccepted(m.DcuConfig(
            self.version, "dcu-1", self.now_ms, tuple(m.MeterConfig(n, serial_of(n), 100 + n) for n in numbers),
            tuple(account_of(n, **self.policy) for n in numbers), self.tariffs, share_permille, self.now_ms + lease_ms,
            self.documents, self.calendars,
        )))  # fmt: skip

    def read(self, meter_no: int, wh: int | None, switch: SwitchState = SwitchState.CLOSED, **more: Any) -> None:
        self.tell(self.meter_read(meter_no, wh, switch, **more))

    def meter_read(self, meter_no: int, wh: int | None, switch: SwitchState = SwitchState.CLOSED, **more: Any) -> p.MeterRead:
        return p.MeterRead(**{
            "meter_no": meter_no, "serial": serial_of(meter_no), "at_ms": self.now_ms, "register_wh": wh, "switch": switch, **more
        })  # fmt: skip

    def read_all(self, wh: int) -> None:
        self.tell(p.SweepRead(tuple(self.meter_read(n, wh) for n in range(1, self.meters + 1))))

    def instrument(self, meter_no: int, amount: str, gseq: int | None = None, **changes: Any) -> bytes:
        account_no = 100 + meter_no
        number = gseq if gseq is not None else self.next_gseq.get(account_no, 1)
        self.next_gseq[account_no] = max(self.next_gseq.get(account_no, 1), number + 1)
        plain = m.Instrument(
            1, "dcu-1", account_no, 1, number, m.InstrumentType.CREDIT, nano(amount), "INR", b"r" * 16, self.now_ms, bytes(32)
        )
        return sign1(SIGNER, "instrument", encode(replace(plain, **changes)))

    def credit(self, meter_no: int, amount: str, gseq: int | None = None, **changes: Any) -> tuple[p.PrepayEffect, ...]:
        return self.tell(p.InstrumentArrived(self.instrument(meter_no, amount, gseq, **changes)))

    def command(self, kind: m.CommandType, meter_no: int = 1, **changes: Any) -> m.Command:
        safety, priority, ttl_ms = COMMAND_RULES[kind]
        number = self.next_counter
        self.next_counter += 1
        plain = m.Command(
            1, number.to_bytes(16, "big"), "dcu-1", meter_no, kind, safety, priority, number, self.now_ms, self.now_ms,
            self.now_ms + ttl_ms, bytes(16),
        )  # fmt: skip
        return replace(plain, **changes)

    def send(self, command: m.Command, channel: str = "command", signer: KeySigner = SIGNER) -> tuple[p.PrepayEffect, ...]:
        return self.tell(p.CommandArrived(sign1(signer, channel, encode(command))))

    def order(self, close: bool | None = None) -> p.RunSwitch:
        """The newest switch order among the effects."""
        orders = [e for e in self.effects if isinstance(e, p.RunSwitch) and close in (None, e.close)]
        assert orders, "no switch was ordered"
        return orders[-1]

    def orders(self) -> list[p.RunSwitch]:
        return [e for e in self.effects if isinstance(e, p.RunSwitch)]

    def finish(self, result: p.SwitchResult = p.SwitchResult.DONE, order: p.RunSwitch | None = None, **more: Any) -> None:
        """What the line would answer to the newest order."""
        ordered = order or self.order()
        reached = SwitchState.CLOSED if ordered.close else SwitchState.OPEN
        failed = SwitchState.OPEN if ordered.close else SwitchState.CLOSED
        after = reached if result in (p.SwitchResult.DONE, p.SwitchResult.ALREADY) else failed
        values = {
            "serial": ordered.serial, "state_before": failed, "state_after": after, "sent": result is p.SwitchResult.DONE,
            "at_ms": self.now_ms, **more,
        }  # fmt: skip
        self.tell(p.SwitchFinished(ordered.action_id, p.SwitchOutcome(result, **values)))

    # ---- what came of it ----

    def entries(self, meter_no: int = 1, epoch: int = 1) -> list[LedgerEntry]:
        return entries_of(self.db, 100 + meter_no, epoch)

    def kinds(self, meter_no: int = 1) -> list[Kind]:
        return [Kind(e.kind) for e in self.entries(meter_no)]

    def replayed(self, meter_no: int = 1) -> tuple[LedgerState, Problem | None]:
        return replay(100 + meter_no, 1, self.entries(meter_no))

    def balance(self, meter_no: int = 1) -> int:
        row = self.db.execute("SELECT balance_nano FROM account WHERE account_no = ?", (100 + meter_no,)).fetchone()
        return int(row[0])

    def decisions(self, meter_no: int = 1) -> list[DecisionEvidence]:
        found = (evidence_of(e) for e in self.entries(meter_no) if e.kind == Kind.DECISION)
        return [e for e in found if isinstance(e, DecisionEvidence)]

    def outbox(self, kind: m.EntryKind) -> list[Any]:
        rows = self.db.execute("SELECT body FROM outbox_entry WHERE kind = ? ORDER BY seq", (int(kind),)).fetchall()
        return [decode(m.ENTRY_TYPES[kind], body) for (body,) in rows]

    def receipts(self) -> list[m.CommandReceipt]:
        return self.outbox(m.EntryKind.COMMAND_RECEIPT)

    def events(self) -> list[m.Event]:
        return self.outbox(m.EntryKind.EVENT)

    def messages(self) -> list[str]:
        return [e.code for e in self.effects if isinstance(e, p.Announce)]
