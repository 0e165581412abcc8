"""SIGKILL to any process of the chain at random moments, a hundred times and more, while a street lives and people pay.

Six homes on real serial lines; agent, MDM, provisioner, broker, the meters themselves and the balance page are killed and started
again like a service manager would; the uplink comes and goes; every kill of the MDM hits a payment under way, which the
cashier repeats with the same receipt until it is confirmed. Some payments are given back, so that homes run out again.
Afterwards the cloud is held against the meters' twins and the books against sums made here.

GRIDTALLY_KILLS=1000 makes it a campaign, GRIDTALLY_KILL_SEED another one, GRIDTALLY_KILL_BROKER=mosquitto the other broker.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select, update

from demo import street as acacia
from demo.deployment import BROKER, DCU, DISPLAY, MDM, STREET
from gridtally_cloud.ingest import poison
from gridtally_cloud.prepay import service as prepay
from gridtally_cloud.prepay.settings import Payments
from gridtally_cloud.prepay.tables import payment
from gridtally_cloud.store.intervals import read_intervals
from gridtally_cloud.store.report import interval_counts
from gridtally_cloud.store.tables import channel, dcu, meter, stream_head
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.simulators.house_log import Act
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.entries import Kind, LedgerEntry, Pool, entry_from
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.money import nano
from gridtally_shared.quantities import ENERGY_IMPORT, INTERVAL_IMPORT
from support.eavesdropper import Eavesdropper, fingerprint
from support.slow_tariff import midnights, slow_charge
from support.twin import operations
from support.visitor import NoAnswer, Visitor
from support.world import Home, World, running_world

KILLS = int(os.environ.get("GRIDTALLY_KILLS", "100"))
SEED = int(os.environ.get("GRIDTALLY_KILL_SEED", "20261122"))
BROKER_KIND = os.environ.get("GRIDTALLY_KILL_BROKER", "embedded")
PROVISIONER = "provisioner"
WEIGHTS = {DCU: 34, BROKER: 18, MDM: 15, STREET: 15, DISPLAY: 10, PROVISIONER: 8}
PAUSE_S, DOWN_S = (0.1, 2.2), (0.0, 0.5)
PAID, LEFT_OVER = "100", nano("3")
OPENING = "3.00"
FACTOR = 240.0
QUARTER_MS = 900_000
RACE_MS = 60_000
ALARMS = {"ledger_fault", "register_went_back", "register_jumped", "serial_mismatch", "switch_unordered", "instrument_refused"}

_pause = threading.Event()


@dataclass
class Cashier:
    """Takes cash at the desk of a portal that may die at any moment; sends again with the same receipt until it is confirmed."""

    world: World
    visitor: Visitor
    confirmed: dict[str, tuple[int, int]] = field(default_factory=dict)
    unanswered: int = 0
    refused: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def pay(self, home: Home) -> None:
        """In a thread of its own: the money is on the counter."""
        receipt = f"R-{len(self._threads) + 1:04d}"
        thread = threading.Thread(target=self._until_confirmed, args=(home, receipt), name=receipt, daemon=True)
        self._threads.append(thread)
        thread.start()

    def close_the_counter(self) -> None:
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def _until_confirmed(self, home: Home, receipt: str) -> None:
        tab = self.visitor.another_tab()
        while not self._confirmed(tab, home, receipt):
            self.unanswered += 1
            _pause.wait(0.3)
        self.confirmed[receipt] = (home.account_no, nano(PAID))

    def _confirmed(self, tab: Visitor, home: Home, receipt: str) -> bool:
        page = f"desk/accounts/{home.account_no}"
        with contextlib.suppress(NoAnswer):
            status, text = tab.post(f"{page}/credit", {"amount": PAID, "reference": receipt}, form=page)
            if 400 <= status < 500:
                self.refused.append(f"{receipt}: {status} {text[:500]}")
            return status == 200
        return False


class ServiceManager:
    """Kills parts, and starts again whatever is down, as systemd would; keeps count."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.killed: Counter[str] = Counter()
        self.ended: list[tuple[str, int]] = []
        self._down: set[str] = set()

    def kill(self, part: str) -> None:
        if part == PROVISIONER:
            self._kill_provisioner()
            return
        process = self.world.deployment.processes.running[part]
        if process.poll() is None:
            if part == MDM and self.chance.random() < 0.5:
                process.kill()  # alone, as the OOM killer does: its child has to notice
                process.wait()
            else:
                self.world.kill(part)
            self.killed[part] += 1
            self._down.add(part)

    def revive(self) -> None:
        """Start what is down; one that ended by itself is noted."""
        for part, process in self.world.deployment.processes.running.items():
            if process.poll() is not None:
                if part not in self._down:
                    self.ended.append((part, process.returncode))
                self.world.revive(part)
        self._down.clear()

    def provisioners(self) -> list[int]:
        """All that run for this MDM, whoever started them."""
        config = str(self.world.deployment.mdm_config).encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                found += [int(process.name)] if config in words and b"provisioner" in words else []
        return found

    def _kill_provisioner(self) -> None:
        """The MDM's child alone; the MDM starts it again."""
        mdm = self.world.deployment.processes.running[MDM].pid
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{mdm}/task/{mdm}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
                self.killed[PROVISIONER] += 1


class Street:
    """The people of the street: those in the dark pay, some get money back and run out again."""

    def __init__(self, world: World, cashier: Cashier, chance: random.Random) -> None:
        self.world, self.cashier, self.chance = world, cashier, chance
        self.refunds: list[tuple[int, int]] = []
        self._paying: set[int] = set()

    def live(self) -> None:
        for home in self.homes:
            if self.world.edge_balance_nano(home) <= 0 and home.account_no not in self._paying:
                self._paying.add(home.account_no)
                self.cashier.pay(home)
        if self.chance.random() < 0.5:
            self._give_back()

    @property
    def homes(self) -> tuple[Home, ...]:
        return tuple(home for home in self.world.homes if home.switched)

    def _give_back(self) -> None:
        """Most of the newest payment of somebody whose credit has arrived."""
        home = self.chance.choice(self.homes)
        with self.world.db.write() as conn:
            newest = prepay.payments(conn, home.account_no, 1)
            if not newest or newest[0].instrument is None or newest[0].instrument.applied_at_ms is None:
                return
            balance_nano = min(self.world.balance_nano(home) or 0, self.world.edge_balance_nano(home))
            amount_nano = min(balance_nano - LEFT_OVER, newest[0].amount_nano - newest[0].refunded_nano)
            if amount_nano < LEFT_OVER:
                return
            payments = Payments(self.world.signer)
            prepay.refund_payment(conn, payments, newest[0].payment_no, amount_nano, self.world.now_ms(), "test")
        self.refunds.append((home.account_no, amount_nano))
        self._paying.discard(home.account_no)


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What there is to check once everything runs again and time almost stands still."""

    world: World
    manager: ServiceManager
    cashier: Cashier
    street: Street
    tap: Eavesdropper
    end_ms: int

    @property
    def span(self) -> tuple[int, int]:
        start_ms = self.world.deployment.start_ms
        return start_ms // QUARTER_MS * QUARTER_MS + 2 * QUARTER_MS, self.end_ms // QUARTER_MS * QUARTER_MS - QUARTER_MS

    def journal(self, home: Home) -> list[LedgerEntry]:
        query = f"SELECT body FROM journal WHERE account_no = {home.account_no} ORDER BY epoch, seq"
        return [entry_from(bytes(body)) for (body,) in self.world.edge("money.db", query)]


@pytest.mark.slow
@pytest.mark.timeout(240 + 5 * KILLS)
@pytest.mark.covers_part("C3-FR12")
def test_killed_a_hundred_times_nothing_is_lost_doubled_or_cut_wrongly() -> None:
    chance = random.Random(SEED)
    with (
        running_world(BROKER_KIND, dlms=4, modbus=2, factor=FACTOR, opening_credit=OPENING) as world,
        contextlib.closing(Eavesdropper(world.deployment)) as tap,
    ):
        after = live_and_die(world, tap, chance)
        report(after)
        for check in CHECKS:
            check(after)


def live_and_die(world: World, tap: Eavesdropper, chance: random.Random) -> Aftermath:
    allow_cuts(world)
    visitor = Visitor(world.deployment.mdm_url)
    visitor.sign_in(acacia.STAFF_LOGIN, world.deployment.password)
    manager, cashier = ServiceManager(world, chance), Cashier(world, visitor)
    street = Street(world, cashier, chance)
    while manager.killed.total() < KILLS:
        _pause.wait(chance.uniform(*PAUSE_S))
        street.live()
        weather(world, chance)
        part = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if part == MDM:
            cashier.pay(street.homes[0])
            _pause.wait(chance.uniform(0.0, 0.25))
        manager.kill(part)
        _pause.wait(chance.uniform(*DOWN_S))
        manager.revive()
    settle(world, manager, cashier)
    return Aftermath(world, manager, cashier, street, tap, world.now_ms())


def allow_cuts(world: World) -> None:
    """Any share of the street may be cut within an hour, or the breaker would wait for a person."""
    with world.db.write() as conn:
        conn.execute(update(dcu).values(cut_share_per_hour_permille=1000))


def weather(world: World, chance: random.Random) -> None:
    """Now and then the uplink goes or comes back."""
    relay = world.deployment.relay
    assert relay is not None
    if chance.random() < (0.1 if relay.is_open else 0.5):
        (relay.cut if relay.is_open else relay.mend)()


def settle(world: World, manager: ServiceManager, cashier: Cashier) -> None:
    """Nothing is killed any more; what ended by itself is still started again."""
    assert world.deployment.relay is not None
    world.deployment.relay.mend()

    def is_quiet() -> bool:
        manager.revive()
        return world.is_drained() and not world.mismatches() and all_have_light(world)

    cashier.close_the_counter()
    try:
        world.until(is_quiet, 150, "the chain comes to rest")
    except AssertionError as error:
        raise AssertionError(f"{error}; drained: {world.is_drained()}; {world.mismatches()[:5]}; ended: {manager.ended}") from error
    world.pass_hours(0.75)
    world.stand_still(150)


def all_have_light(world: World) -> bool:
    """Whoever has credit has supply, and nobody without it has been forgotten."""
    return all(
        (world.edge_balance_nano(home) > 0) == (world.house(home, world.now_ms()).switch() is SwitchState.CLOSED)
        for home in world.homes
        if home.switched
    )


def report(after: Aftermath) -> None:
    killed = ", ".join(f"{part} {count}" for part, count in sorted(after.manager.killed.items()))
    cuts = sum(op.act is Act.OPENED for h in after.street.homes for op in operations(after.world.deployment, h.serial))
    hours = (after.end_ms - after.world.deployment.start_ms) / 3_600_000
    print(f"\nseed {SEED}, broker {BROKER_KIND}: {after.manager.killed.total()} kills in {hours:.1f} virtual hours ({killed}); "
          f"{len(after.cashier.confirmed)} payments, {after.cashier.unanswered} tries without answer, {len(after.street.refunds)} refunds, "
          f"{cuts} cuts, {len(after.tap.heard())} numbers overheard; ended by themselves: {after.manager.ended}")  # fmt: skip


# ---- what must hold --------------------------------------------------------------------------------------------


def check_the_test_did_something(after: Aftermath) -> None:
    assert set(after.manager.killed) == set(WEIGHTS)
    assert after.cashier.unanswered > 0
    assert any(evidence_of(e) for home in after.street.homes for e in after.journal(home) if e.kind == Kind.SWITCH)


def check_nothing_ended_by_itself(after: Aftermath) -> None:
    parts = {part for part, _ in after.manager.ended}
    logs = "\n".join(after.world.deployment.processes.tail(part, 30) for part in parts)
    assert after.manager.ended == [], logs
    assert len(after.manager.provisioners()) == 1


def check_no_interval_is_missing_or_doubled(after: Aftermath) -> None:
    with after.world.db.read() as conn:
        counts = interval_counts(conn, *after.span, INTERVAL_IMPORT.code)
        assert poison.waiting(conn) == ()
    assert sorted(c.meter_no for c in counts) == sorted(home.meter_no for home in after.world.homes)
    assert [(c.meter_no, c.missing, c.duplicates, c.conflicts) for c in counts if c.missing or c.duplicates or c.conflicts] == []


def check_intervals_are_the_meters_own(after: Aftermath) -> None:
    from_ms, to_ms = after.span
    for home in after.world.homes:
        stored = stored_intervals(after, home)
        if home.switched:
            rows = after.world.house(home, after.end_ms).profile(from_ms + QUARTER_MS, to_ms)
            assert stored == {row.end_ms - QUARTER_MS: row.import_wh for row in rows}
        else:
            line = register_line(after, home)
            assert stored == {at_ms: line(at_ms + QUARTER_MS) - line(at_ms) for at_ms in range(from_ms, to_ms, QUARTER_MS)}


def stored_intervals(after: Aftermath, home: Home) -> dict[int, int]:
    from_ms, to_ms = after.span
    joined = channel.join(meter, meter.c.usage_point_no == channel.c.usage_point_no)
    query = select(channel.c.channel_no).select_from(joined)
    with after.world.db.read() as conn:
        number = conn.execute(query.where(meter.c.meter_no == home.meter_no, channel.c.quantity == INTERVAL_IMPORT.code)).scalar_one()
        series = read_intervals(conn, number, from_ms, to_ms)
    return {from_ms + i * QUARTER_MS: value for i, value in enumerate(series.values) if series.present[i]}


def register_line(after: Aftermath, home: Home) -> Callable[[int], int]:
    """The register at any moment, as a straight line between samples, rounded down."""
    query = f"SELECT at_ms, value FROM sample WHERE meter_no = {home.meter_no} AND quantity = {ENERGY_IMPORT.code} ORDER BY at_ms"
    samples = after.world.edge("readings.db", query)
    twin = after.world.house(home, after.end_ms)
    assert all(twin.registers_at(at_ms - RACE_MS * 5)[0] <= value <= twin.registers_at(at_ms)[0] for at_ms, value in samples)

    def line(mark_ms: int) -> int:
        (t0, v0), (t1, v1) = next(pair for pair in pairwise(samples) if pair[0][0] <= mark_ms <= pair[1][0])
        return int(v0 + (v1 - v0) * (mark_ms - t0) // (t1 - t0))

    return line


def check_edge_and_cloud_hold_the_same_books(after: Aftermath) -> None:
    assert after.world.mismatches() == []


def check_every_payment_counts_once(after: Aftermath) -> None:
    """Balance = opening + confirmed payments - refunds - energy and days, all summed here."""
    assert after.cashier.refused == []
    with after.world.db.read() as conn:
        paid = conn.execute(select(payment.c.gateway_ref, payment.c.account_no, payment.c.amount_nano)).all()
    booked = {row.gateway_ref: (row.account_no, row.amount_nano) for row in paid if not row.gateway_ref.startswith("opening")}
    assert booked == after.cashier.confirmed
    assert len(paid) == len(booked) + len(after.street.homes)
    for home in after.street.homes:
        entries = after.journal(home)
        registers = [e.register_after_wh for e in entries if e.register_after_wh is not None]
        opened = next(e for e in entries if e.kind == Kind.OPEN)
        days = midnights(opened.at_ms, after.end_ms, acacia.ZONE)
        paid_nano = nano(OPENING) + sum(amount for no, amount in booked.values() if no == home.account_no)
        back_nano = sum(amount for no, amount in after.street.refunds if no == home.account_no)
        owed_nano = -sum(p.amount_nano for e in entries for p in e.postings if p.pool == Pool.DEBT)
        charged_nano = slow_charge(registers[-1] - registers[0], days)
        assert after.world.edge_balance_nano(home) == paid_nano - back_nano - charged_nano + owed_nano


def check_no_number_is_used_twice(after: Aftermath) -> None:
    """What was overheard agrees with the outboxes; the cloud has all of both, of one stream each."""
    own: dict[tuple[bytes, int, int], bytes] = {}
    heads: dict[tuple[bytes, int], int] = {}
    for store in ("readings.db", "money.db"):
        [(stream,)] = after.world.edge(store, "SELECT stream_id FROM outbox_stream")
        rows = after.world.edge(store, "SELECT stream_id, lane, seq, kind, body FROM outbox_entry")
        own |= {(bytes(s), lane, seq): fingerprint(kind, bytes(body)) for s, lane, seq, kind, body in rows}
        heads |= {(bytes(stream), lane): last for lane, last in after.world.edge(store, "SELECT lane, next_seq - 1 FROM outbox_lane")}
    heard = after.tap.heard()
    assert len(heard) > 100 or after.world.deployment.secured
    assert {number: bodies for number, bodies in heard.items() if bodies != {own.get(number)}} == {}
    assert {(s, lane) for s, lane, _ in own} <= set(heads)
    with after.world.db.read() as conn:
        received = {(bytes(r.stream_id), r.lane): (r.upto, r.highest) for r in conn.execute(select(stream_head))}
    assert received == {key: (last, last) for key, last in heads.items() if last}


def check_nobody_was_cut_who_had_credit(after: Aftermath) -> None:
    for home in after.street.homes:
        opened = [o.at_ms for o in operations(after.world.deployment, home.serial) if o.act is Act.OPENED]
        balance_nano, done = 0, 0
        balances: list[tuple[int, int]] = []
        for entry in after.journal(home):
            evidence = evidence_of(entry)
            if isinstance(evidence, SwitchEvidence) and not evidence.close and evidence.result == "done":
                done += 1
            balance_nano += sum(p.amount_nano for p in entry.postings if p.pool == Pool.PAID)
            balances.append((entry.at_ms, balance_nano))
        assert len(opened) == done
        for at_ms in opened:
            assert any(balance <= 0 for when, balance in balances if at_ms - RACE_MS <= when <= at_ms) or (
                [balance for when, balance in balances if when <= at_ms][-1] <= 0
            )


def check_whoever_has_credit_has_light(after: Aftermath) -> None:
    assert all_have_light(after.world)
    alarms = [BY_CODE[code].name for home in after.world.homes for code, _ in after.world.events(home) if code in BY_CODE]
    assert set(alarms) & ALARMS == set()


CHECKS = (
    check_the_test_did_something,
    check_nothing_ended_by_itself,
    check_no_interval_is_missing_or_doubled,
    check_intervals_are_the_meters_own,
    check_edge_and_cloud_hold_the_same_books,
    check_every_payment_counts_once,
    check_no_number_is_used_twice,
    check_nobody_was_cut_who_had_credit,
    check_whoever_has_credit_has_light,
)
