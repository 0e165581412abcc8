"""The close after a trip, and a cut that becomes due while it is on its way: the real core, its conversation with a simulated meter,
and what the meter's own log says its contactor did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.book import entries_of
from gridtally_shared.contract import messages as m
from gridtally_shared.contract.codec import encode
from gridtally_shared.events import BY_NAME
from gridtally_shared.instruments.details import LimitOrder
from gridtally_shared.ledger.evidence import DecisionEvidence, SwitchEvidence, evidence_of
from gridtally_shared.money import nano
from support.little_street import DCU, LittleStreet, little_street
from support.prepay_bench import DAY_MS, account_of, tariff

MOVES = {BY_NAME["supply_connected"].code: "on", BY_NAME["supply_disconnected"].code: "off"}


class Home:
    """One home on a street, whose load is always above the limit that was ordered for it."""

    def __init__(self, street: LittleStreet) -> None:
        self.street, self.house, self.gseq = street, street.houses["dlms/1"], 0
        street.say_time()
        street.connect()
        now_ms, meters = street.clock.now_ms(), (m.MeterConfig(1, self.house.serial, 101),)
        street.down("config", m.DcuConfig(1, DCU, now_ms, meters, (account_of(1),), (tariff(),), 1000, now_ms + DAY_MS))
        street.next_quarter()
        self.instrument(m.InstrumentType.CREDIT, "100")
        self.instrument(m.InstrumentType.LIMIT_SET, detail=encode(LimitOrder(20)))
        street.next_quarter()
        assert self.moves == ["off"]

    def instrument(self, kind: m.InstrumentType, amount: str = "0", detail: bytes = b"") -> None:
        self.gseq += 1
        now_ms = self.street.clock.now_ms()
        given = m.Instrument(1, DCU, 101, 1, self.gseq, kind, nano(amount), "INR", b"r" * 16, now_ms, bytes(32), detail=detail)
        self.street.down("instrument", given)

    def loses_its_money(self) -> None:
        """From now on a cut is due."""
        self.instrument(m.InstrumentType.CREDIT_CLEAR)

    def after_two_minutes(self, when: Callable[[], bool], answer: bytes | None = b"as it is") -> None:
        """The close comes; as soon as `when` holds on the line a cut becomes due, and from there on the line says `answer`."""
        street, over = self.street, False

        def between(data: bytes) -> bytes | None:
            nonlocal over
            if not over and when():
                over = True
                self.loses_its_money()
                return data if answer else None
            return data

        street.in_switching = between
        street.wind(120_000)
        street.beat()
        street.in_switching = lambda data: data
        assert over

    @property
    def moves(self) -> list[str]:
        """By the meter's own log."""
        return [MOVES[e.code] for e in self.house.events() if e.code in MOVES]

    def switched(self) -> list[tuple[str, bool, str]]:
        """What the journal says of each order: by whom, a close or not, its end."""
        return [(e.origin, e.close, e.result) for e in self._evidence() if isinstance(e, SwitchEvidence)]

    def decided(self) -> list[str]:
        return [e.transition for e in self._evidence() if isinstance(e, DecisionEvidence)]

    def _evidence(self) -> list[object]:
        return [evidence_of(e) for e in entries_of(self.street.core.prepay.outbox.connection, 101, 1)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with little_street(tmp_path) as street:
        yield Home(street)


def test_a_close_that_has_not_left_does_not_reach_the_meter(home: Home) -> None:
    home.after_two_minutes(lambda: True)
    assert home.moves == ["off"]
    assert home.switched() == [("limit", True, "withdrawn")]
    home.street.next_quarter()
    assert home.moves == ["off"]

    home.instrument(m.InstrumentType.CREDIT, "100")
    assert home.moves == ["off", "on"], "at once: its two minutes are long over"
    assert home.decided()[-1] == "T23v"
    home.street.next_quarter(8)
    assert home.moves == ["off", "on", "off"], "it was the one automatic close"


@pytest.mark.parametrize("answer", [b"as it is", None], ids=["the answer comes", "the line dies"])
def test_a_close_that_has_left_acts_and_the_cut_follows_when_it_was_read_back(home: Home, answer: bytes | None) -> None:
    home.after_two_minutes(lambda: home.house.switch() is SwitchState.CLOSED, answer)
    assert home.moves == ["off", "on", "off"]
    assert home.switched() == [("limit", True, "done"), ("local", False, "done")]
    assert home.decided()[-1] == "T11"
    home.street.next_quarter(2)
    assert home.moves == ["off", "on", "off"]

    home.instrument(m.InstrumentType.CREDIT, "100")
    assert home.moves == ["off", "on", "off", "on"]
    assert home.decided()[-1] == "T16"
