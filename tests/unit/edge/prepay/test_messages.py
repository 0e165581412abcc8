"""What becomes of a message: its states go on only, are kept and told, and belong to one account."""

from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gridtally_edge.display.account import view_account
from gridtally_edge.display.page import balance_page
from gridtally_edge.display.texts import Words
from gridtally_edge.display.topic_document import document_of
from gridtally_edge.drivers.is15959 import DlmsPort, Is15959Settings
from gridtally_edge.polling.showing import show_conversation
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.rows import MessageRow, some
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.house import HouseMeter, HouseSettings
from gridtally_shared.clock import ManualClock
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.contract.prepay_messages import PolicyDocument
from gridtally_shared.events import BY_NAME
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import MessageEvidence, MessageParam, evidence_of
from gridtally_shared.lifecycle import CommandState as S
from gridtally_shared.messages.order import MessageOrder, order_bytes
from support.little_street import converse
from support.prepay_bench import DAY_MS, Bench


def rows(bench: Bench) -> list[MessageRow]:
    return some(bench.db, MessageRow, "ORDER BY message_no")


def said(bench: Bench, word: str, message_no: int | None = None, account_no: int = 101) -> str:
    number = message_no or rows(bench)[-1].message_no or 0
    bench.tell(p.MessageSaid(account_no, number, word))
    return rows(bench)[-1].state


def told(bench: Bench) -> list[str]:
    events = [e for e in bench.events() if e.code == BY_NAME["message_state"].code]
    return [e.detail.rsplit("state=", 1)[1] for e in events]


def test_a_message_goes_on_and_never_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    assert rows(bench)[-1].state == ""
    assert [said(bench, w) for w in ("displayed", "displayed", "read", "displayed", "rubbish")] == ["displayed", "displayed"] + ["read"] * 3
    assert told(bench) == ["displayed", "read"]
    assert rows(bench)[-1].state_ms == bench.now_ms


def test_nobody_answers_for_a_neighbour(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 2)
    bench.credit(1, "50")
    assert said(bench, "read", account_no=102) == ""
    assert said(bench, "read", message_no=9_999) == ""


@pytest.mark.covers_part("ETSI-5.2.16-basic-4", "ETSI-5.2.16-basic-5")
@pytest.mark.parametrize(("word", "result"), [("accepted", b"\xf5"), ("declined", b"\xf4")])
def test_yes_and_no_reach_the_sender(tmp_path: Path, word: str, result: bytes) -> None:
    bench = Bench(tmp_path)
    order = order_bytes(MessageOrder("advice", asks=True))
    bench.send(bench.command(CommandType.MESSAGE, text="May we call you?", detail=order))
    said(bench, "read")
    assert said(bench, word) == word
    states = [r.state for r in bench.receipts()]
    assert states[-4:] == [S.DISPLAYED, S.READ, S.ANSWERED, S.DONE]
    assert bench.receipts()[-1].result == result


@pytest.mark.covers_part("C3-FR5", "C3-FR11")
def test_every_message_stands_in_the_journal_with_its_code(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.credit(1, "50")
    bench.wait(60_000)
    order = order_bytes(MessageOrder("functional", code="TARIFF", params=(MessageParam("d", "1772430000000"),)))
    bench.send(bench.command(CommandType.MESSAGE, text="-", detail=order))
    notices = [(e.at_ms, evidence_of(e)) for e in bench.entries() if e.kind == Kind.NOTICE]
    codes = [(at_ms, e.code) for at_ms, e in notices if isinstance(e, MessageEvidence)]
    assert codes == [(bench.now_ms - 60_000, "CREDIT"), (bench.now_ms, "TARIFF")]
    assert [(r.at_ms, r.code) for r in rows(bench)] == codes


def test_a_message_nobody_can_show_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send(bench.command(CommandType.MESSAGE, text="x", detail=order_bytes(MessageOrder("spell"))))
    assert bench.receipts()[-1].state == S.REFUSED
    assert rows(bench) == []


def test_what_nobody_read_in_its_time_expires(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.send(bench.command(CommandType.MESSAGE, text="Hello"))
    bench.wait(40 * DAY_MS)
    assert rows(bench)[-1].state == "expired"
    assert told(bench) == ["expired"]


# ---- where they are shown on the spot ------------------------------------------------------------------------


class Spot:
    """The home of meter 1: a real meter with a display of its own, and the display device."""

    def __init__(self, folder: Path, alerts: list[str]) -> None:
        rules = {"kind": "policy", "code": "home", "currency": "INR", "low": {"money": ["10"]}, "alerts": alerts}
        documents = (PolicyDocument("home", 1, 0, json.dumps(rules)),)
        self.bench = Bench(folder, documents=documents, policy={"policy_id": "home", "language": "es"})
        self.house = HouseMeter(HouseSettings("GT0001", 1, history_days=1), ManualClock(self.bench.now_ms))
        self.port, self.slave = DlmsPort(Is15959Settings(1, password="ABCD0001")), DlmsSlave((DlmsUnit(self.house, 1),))

    def meter(self) -> str:
        """What stands on the meter's own display after what was ordered was carried out."""
        for show in [e for e in self.bench.effects if isinstance(e, p.ShowOnMeter)]:
            converse(show_conversation(self.port, self.bench.core.face(show, None)), self.slave)
        self.bench.effects.clear()
        return self.house.shown_text()

    def display(self) -> str:
        """What stands on the page and in the document of the local topic, which say the same."""
        view = view_account(self.bench.db, 101, self.bench.now_ms)
        assert view is not None
        shown = document_of(view).decode()
        page = balance_page(Words("es", "INR", ZoneInfo("Asia/Kolkata")), view)
        assert [m in shown for m in ALERTS] == [m in page for m in ALERTS]
        return shown


ALERTS = ("Saldo bajo", "Corte de obra")


@pytest.mark.covers("C3-IE7")
@pytest.mark.parametrize("alerts", [[], ["meter"], ["display"], ["meter", "display"]])
def test_alerts_go_to_the_meter_and_to_the_display_each_as_configured(tmp_path: Path, alerts: list[str]) -> None:
    """One that the rules lead to, and one that somebody orders; each as soon as it is there."""
    spot = Spot(tmp_path, alerts)
    bench = spot.bench
    bench.credit(1, "20")
    bench.wait(60_000)
    bench.read(1, 1_001_500)
    seen = [(ALERTS[0] in spot.meter(), ALERTS[0] in spot.display())]
    bench.send(bench.command(CommandType.MESSAGE, text=f"{ALERTS[1]} a las 14:00"))
    seen.append((ALERTS[1] in spot.meter(), ALERTS[1] in spot.display()))
    assert seen == [("meter" in alerts, "display" in alerts)] * 2
    # wherever they are shown: the figures stand on the meter, the journal has both, and the sender hears of his
    bench.wait(60_000)
    bench.read(1, 1_001_600)
    assert (ALERTS[1] in spot.meter()) is ("meter" in alerts)
    assert spot.house.shown_text().endswith("kWh | -- | -- kWh/d")
    assert spot.house.shown_balance() == (bench.balance() // 10**7, bench.now_ms)
    told = [x.code for e in bench.entries() if isinstance(x := evidence_of(e), MessageEvidence)]
    assert told == ["CREDIT", "LOW_BARE", "TEXT"]
    assert bench.receipts()[-1].state == S.DISPLAYED


def test_a_message_leaves_the_meters_display_when_it_was_read_and_after_a_day(tmp_path: Path) -> None:
    spot = Spot(tmp_path, ["meter"])
    spot.bench.credit(1, "20")
    assert spot.meter().startswith("Recibido INR 20.00. Saldo INR 20.00. | ")
    said(spot.bench, "read")
    spot.bench.wait(3_600_000)
    spot.bench.read(1, 1_000_010)
    assert "Recibido" not in spot.meter()
    spot.bench.send(spot.bench.command(CommandType.MESSAGE, text="Corte de obra"))
    assert "Corte de obra" in spot.meter()
    spot.bench.wait(DAY_MS)
    spot.bench.read(1, 1_000_020)
    assert "Corte de obra" not in spot.meter()
