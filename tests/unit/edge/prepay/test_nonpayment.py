"""A cut for nonpayment that the utility orders (a disconnect run): never against money that is there; a payment brings the supply back."""

from __future__ import annotations

from pathlib import Path

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay.events import SwitchFinished, SwitchOutcome, SwitchResult
from gridtally_shared.contract.messages import CommandType
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.lifecycle import CommandState, Reason
from gridtally_shared.prepay.regions import Entitlement
from support.dark_home import dark_home
from support.prepay_bench import HOUR_MS, Bench
from support.supply_cases import standing

CAUSE = "nonpayment, run 1"


def owing(folder: Path) -> Bench:
    """The money is used up; the right to cut by itself has ended, so the box waits for an order."""
    bench = Bench(folder)
    bench.credit(1, "8.40")
    bench.configure(lease_ms=-1)
    bench.wait(HOUR_MS)
    bench.read_all(1_001_000)
    assert bench.orders() == []
    return bench


def ordered_off(bench: Bench, cause: str = CAUSE) -> None:
    bench.send(bench.command(CommandType.SWITCH_OPEN, cause=cause, switch_counter=7))


def off_by(bench: Bench) -> str:
    return str(bench.db.execute("SELECT off_reason FROM switch WHERE meter_no = 1").fetchone()[0])


def test_who_is_cut_by_a_run_and_pays_has_supply_again(tmp_path: Path) -> None:
    bench = owing(tmp_path)
    ordered_off(bench)
    bench.finish()
    assert (off_by(bench), standing(bench).regions.entitlement) == ("balance", Entitlement.CUT)
    bench.wait(HOUR_MS)
    assert len(bench.orders()) == 1, "it stays off until somebody pays"
    bench.credit(1, "50")
    assert bench.order().close
    bench.finish()
    assert bench.messages()[-1] == "ON"
    said = [evidence_of(e) for e in bench.entries() if e.kind == Kind.SWITCH]
    assert [(s.close, s.origin) for s in said if isinstance(s, SwitchEvidence)] == [(False, "nonpayment"), (True, "local")]
    assert bench.replayed()[1] is None


def test_off_by_any_other_order_it_waits_for_a_person(tmp_path: Path) -> None:
    bench = owing(tmp_path)
    ordered_off(bench, "the house is empty")
    bench.finish()
    bench.credit(1, "50")
    assert len(bench.orders()) == 1
    assert off_by(bench) == "order"


def test_an_order_that_comes_behind_a_payment_is_refused(tmp_path: Path) -> None:
    bench = owing(tmp_path)
    bench.credit(1, "50")
    ordered_off(bench)
    assert bench.orders() == []
    assert (bench.receipts()[-1].state, bench.receipts()[-1].reason) == (CommandState.REFUSED, Reason.PAID)


def test_a_payment_calls_back_an_order_that_waits_for_its_line(tmp_path: Path) -> None:
    bench = owing(tmp_path)
    ordered_off(bench)
    order = bench.order(close=False)
    bench.credit(1, "50")
    assert not order.permit.granted()
    bench.finish(SwitchResult.WITHDRAWN, order, state_after=SwitchState.CLOSED)
    assert (bench.receipts()[-1].state, bench.receipts()[-1].reason) == (CommandState.REFUSED, Reason.PAID)
    assert len(bench.orders()) == 1


def test_an_old_disk_learns_from_its_journal_that_money_opened_it(tmp_path: Path) -> None:
    with dark_home(tmp_path) as home:
        image = home.image("old")
        for _ in range(40):
            home.now_ms += HOUR_MS
            home.wh += 900
            home.minutes(1, 600)
            if home.ordered:
                break
        (own,) = home.ordered
        home.ordered.clear()
        unheard = SwitchOutcome(SwitchResult.NO_ANSWER, "", SwitchState.UNKNOWN, SwitchState.UNKNOWN, False, home.now_ms)
        home.tell(SwitchFinished(own.action_id, unheard))
        assert home.order_off(CAUSE) == "open"
        home.old_disk(image)
        home.heal()
        assert home.off_by() == "balance"
        home.pay("500")
        home.carry_down()
        assert home.act() == "close"
