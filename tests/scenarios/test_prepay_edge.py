"""One prepaid home on a real serial line (a pty) with a DLMS meter at its end, and a concentrator that decides alone.

The seed's story (002, prepayment): the balance runs low and the consumer is told, the money ends while the uplink is away
and the supply is cut on the spot, a payment brings it back at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from gridtally_edge.display.account import AccountView, view_account
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import Words
from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.polling.showing import show_conversation
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.holds import zone_of
from gridtally_edge.prepay.switching import outcome_of_error, switch_conversation
from gridtally_edge.protocols.conversation import Conversation
from gridtally_edge.simulators.bus import SimBus, Station
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.faults import Fault, FaultKind
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_edge.simulators.ports import PtyPort
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import EntryKind
from gridtally_shared.errors import LinkDown
from gridtally_shared.events import BY_CODE
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.money import nano
from gridtally_shared.prepay.cut_tests import CUT_TESTS
from gridtally_shared.quantities import BY_NAME
from support.prepay_bench import START_MS, Bench, serial_of
from support.waiting import wait_until

QUARTER_MS = 900_000
REGISTER, POWER = BY_NAME["energy_import_wh"].code, BY_NAME["power_w"].code


class Home:
    """The bench's core, with a line that really carries its orders. `clock` runs house, meter and core alike."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.clock = ManualClock(START_MS)
        self.house = HouseMeter(HouseSettings(serial_of(1), 3, history_days=3), self.clock)
        station = Station(DlmsSlave([DlmsUnit(self.house, 17)]), lambda answer: serial_of(1))
        self.sim = SimBus("line", PtyPort(folder / "line"), [station])
        self.sim.start()
        self.line = SerialBus(LineSettings("line", str(folder / "line")))
        self.line.start()
        self.port = DlmsPort(Is15959Settings(17, password="ABCD0001", answer_ms=400, retries=0))
        self.bench = Bench(folder, 1, {"offline_cut": "allowed", "low_balance_nano": nano("5"), **policy}, ready=False)
        self.bench.trust()
        self.bench.online()
        self.bench.configure()
        self.sweep()

    def close(self) -> None:
        self.line.close()
        self.sim.close()
        self.house.close()
        self.bench.db.close()

    def say(self, conversation: Conversation[Any], priority: Priority = Priority.PROFILE) -> Any:
        future: Future[Any] = self.line.submit(conversation, priority, serial_of(1))
        return future.result(20)

    def _read(self) -> Conversation[p.MeterRead]:
        yield from self.port.open()
        serial = yield from self.port.read_serial()
        values = {r.quantity: r.value for r in (yield from self.port.read_instant(self.clock.now_ms))}
        switch = yield from self.port.read_switch()
        yield from self.port.close()
        return p.MeterRead(1, serial, self.clock.now_ms(), values[REGISTER], 0, switch, values[POWER])

    def sweep(self, carry_out: bool = True) -> None:
        """Read the meter, tell the core, carry out its orders on the line."""
        self.bench.now_ms = self.clock.now_ms()
        self.bench.tell(p.SweepRead((self.say(self._read()),)))
        if carry_out:
            self.carry_out()

    def carry_out(self) -> None:
        while self.bench.effects:
            effect = self.bench.effects.pop(0)
            if isinstance(effect, p.RunSwitch):
                self.bench.tell(p.SwitchFinished(effect.action_id, self.switch(effect)))
            elif isinstance(effect, p.ShowOnMeter):
                with contextlib.suppress(LinkDown):
                    self.say(show_conversation(self.port, self.bench.core.face(effect, None)))

    def switch(self, order: p.RunSwitch) -> p.SwitchOutcome:
        try:
            outcome: p.SwitchOutcome = self.say(switch_conversation(self.port, self.clock.now_ms, order), Priority.SWITCH)
        except LinkDown as error:
            return outcome_of_error(order, error, self.clock.now_ms())
        return outcome

    def pay(self, amount: str) -> None:
        self.bench.now_ms = self.clock.now_ms()
        self.bench.credit(1, amount)
        self.carry_out()

    def live(self, until: Callable[[], bool], at_most_days: int = 4) -> None:
        """Quarter by quarter, read each time, until something has happened."""
        for _ in range(at_most_days * 96):
            if until():
                return
            self.clock.advance(QUARTER_MS)
            self.sweep()
        raise AssertionError(f"not within {at_most_days} days")

    @property
    def is_dark(self) -> bool:
        return self.house.switch() is SwitchState.OPEN

    def view(self) -> AccountView:
        view = view_account(self.bench.db, 101, self.clock.now_ms())
        assert view is not None
        return view

    def page(self, language: str = "en") -> str:
        return balance_page(Words(language, "INR", zone_of("Asia/Kolkata")), self.view()).replace("\xa0", " ")

    def moment(self) -> str:
        return Words("en", "INR", zone_of("Asia/Kolkata")).moment(self.clock.now_ms())

    def codes(self) -> list[str]:
        return [row[0] for row in self.bench.db.execute("SELECT code FROM message ORDER BY message_no")]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.close()


@pytest.mark.covers("C3-A2.7")
@pytest.mark.covers_part("C3-A2.8b", "ETSI-F3a", "ETSI-5.2.5-0")
def test_low_balance_then_the_cut_while_the_uplink_is_away_then_the_payment(home: Home) -> None:
    home.pay("25")
    home.bench.offline()

    home.live(lambda: "LOW" in home.codes() or "LOW_BARE" in home.codes())
    assert 0 < home.bench.balance() <= nano("5")
    assert not home.is_dark
    assert [BY_CODE[e.code].name for e in home.bench.events()] == ["low_balance"]
    for language, words in (("en", "Low balance ₹"), ("es", "Saldo bajo ₹"), ("hi", "बैलेंस कम ₹")):
        assert words in home.page(language)

    crossed: list[int] = []
    home.live(lambda: home.is_dark or crossed.append(home.bench.balance()) is not None)
    assert all(balance > 0 for balance in crossed), "a reading at or below zero did not cut"
    evidence = home.bench.decisions()[-1]
    assert evidence.verdict == "cut"
    assert {t.name for t in evidence.tests if t.holds} == {name for name, _ in CUT_TESTS}
    assert "because the balance was used up" in home.page()

    at_cut_wh = home.house.snapshot().energy_import_wh
    home.clock.advance(6 * QUARTER_MS)
    home.sweep()
    assert home.house.snapshot().energy_import_wh == at_cut_wh
    charged = home.bench.replayed()[0]
    assert charged.register_wh == at_cut_wh

    home.pay("50")
    assert not home.is_dark
    assert "Supply: <strong>On</strong>" in home.page()
    assert home.codes()[-2:] == ["CREDIT", "ON"]
    home.clock.advance(QUARTER_MS)
    home.sweep()
    assert home.house.snapshot().energy_import_wh > at_cut_wh
    assert home.bench.replayed()[1] is None
    assert [e.kind for e in home.bench.entries()].count(Kind.SWITCH) == 2


@pytest.mark.covers_part("BYPL-17.5b")
def test_a_payment_sent_again_is_on_the_meters_own_display_once(home: Home) -> None:
    envelope = home.bench.instrument(1, "12.34")
    for _ in range(3):
        home.bench.tell(p.InstrumentArrived(envelope))
        home.carry_out()
    shown = home.house.shown_balance()
    assert shown is not None
    assert shown[0] == 1234
    assert home.bench.balance() == nano("12.34")


def test_the_default_policy_never_cuts_offline(tmp_path: Path) -> None:
    home = Home(tmp_path, offline_cut="never")
    try:
        home.pay("2")
        home.bench.offline()
        home.live(lambda: home.bench.balance() < -nano("1"))
        home.sweep()
        assert not home.is_dark
        assert "The supply stays on for now." in home.page()
        home.bench.online()
        home.carry_out()
        assert home.is_dark
    finally:
        home.close()


def test_power_fails_at_the_concentrator_between_the_order_and_its_answer(home: Home) -> None:
    home.pay("2")
    while not home.bench.orders():
        home.clock.advance(QUARTER_MS)
        home.sweep(carry_out=False)
    home.switch(home.bench.order())
    home.bench.restart()
    assert [e for e in home.bench.effects if isinstance(e, p.RunSwitch)] == []
    home.clock.advance(60_000)
    home.sweep()
    assert home.is_dark
    home.pay("50")
    assert not home.is_dark
    assert home.bench.replayed()[1] is None


def test_a_meter_that_falls_silent_is_not_cut_and_restored_when_it_answers_again(home: Home) -> None:
    home.pay("1")
    home.live(lambda: home.is_dark)
    home.sim.faults.add(Fault(FaultKind.MUTE))
    home.pay("50")
    assert home.is_dark
    home.sim.faults.clear()

    def lit_after_another_quarter() -> bool:
        home.clock.advance(QUARTER_MS)
        with contextlib.suppress(LinkDown):
            home.sweep()
        return not home.is_dark

    wait_until(lit_after_another_quarter, 30)
    kinds = [BY_CODE[e.code].name for e in home.bench.outbox(EntryKind.EVENT)]
    assert "switch_unordered" not in kinds


@pytest.mark.covers("C3-A1.3")
def test_near_its_end_meter_face_and_page_are_renewed_with_each_reading(home: Home) -> None:
    """Through the real driver: the meter's own objects hold the balance of the page and the moment of the reading, each time."""
    home.pay("60")
    home.live(lambda: home.view().time_left is not None and home.view().time_left.cautious_ms is not None)
    shown = []
    for _ in range(4):
        home.clock.advance(QUARTER_MS)
        home.sweep()
        view = home.view()
        assert view.as_of_ms == home.clock.now_ms()
        assert home.house.shown_balance() == (view.balance_nano // 10**7, view.as_of_ms)
        assert f"As of {home.moment()}, entry {view.seq} of your account." in home.page()
        shown.append((view.seq, view.as_of_ms))
    assert len(set(shown)) == 4
