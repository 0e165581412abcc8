"""A power cut at any point, then a start: the same books, no order twice, nothing lost (prepayment.md I20, I21)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.events import SwitchResult
from gridtally_shared.contract.messages import CommandType, EntryKind
from gridtally_shared.ledger.entries import Kind
from gridtally_shared.ledger.evidence import SwitchEvidence, evidence_of
from gridtally_shared.money import nano
from support.prepay_bench import HOUR_MS, Bench
from support.required import ROOT
from support.waiting import wait_until


def due(folder: Path) -> Bench:
    bench = Bench(folder)
    bench.credit(1, "8.40")
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_000)
    return bench


def switch_results(bench: Bench) -> list[str]:
    found = (evidence_of(e) for e in bench.entries() if e.kind == Kind.SWITCH)
    return [e.result for e in found if isinstance(e, SwitchEvidence)]


def test_a_crash_before_the_order_left_or_before_its_result_is_resolved_by_reading(tmp_path: Path) -> None:
    bench = due(tmp_path)
    order = bench.order()
    bench.restart()
    assert bench.orders() == []
    assert bench.effects == [p.RunRead(order.action_id, 1, "GT0001", CommandType.READ_SWITCH)]


def test_the_switch_had_opened(tmp_path: Path) -> None:
    bench = due(tmp_path)
    action_id = bench.order().action_id
    bench.restart()
    bench.tell(p.ReadFinished(action_id, True, bench.now_ms, serial="GT0001", switch=SwitchState.OPEN))
    assert switch_results(bench) == ["done"]
    bench.credit(1, "5")
    assert bench.order().close


def test_the_switch_had_not_opened_and_a_new_decision_is_made(tmp_path: Path) -> None:
    bench = due(tmp_path)
    first = bench.order().action_id
    bench.restart()
    bench.trust()
    bench.online()
    bench.read(1, 1_001_010)
    assert switch_results(bench) == ["no_answer"]
    bench.wait(HOUR_MS)
    bench.read(1, 1_001_020)
    assert bench.order().action_id != first
    assert len(bench.orders()) == 1


def test_a_reading_of_another_house_resolves_nothing(tmp_path: Path) -> None:
    bench = due(tmp_path)
    action_id = bench.order().action_id
    bench.restart()
    bench.tell(p.ReadFinished(action_id, True, bench.now_ms, serial="GT9999", switch=SwitchState.OPEN))
    assert switch_results(bench) == []


def test_a_result_that_comes_twice_counts_once(tmp_path: Path) -> None:
    bench = due(tmp_path)
    order = bench.order()
    bench.finish(SwitchResult.DONE, order)
    bench.finish(SwitchResult.DONE, order)
    assert switch_results(bench) == ["done"]


def test_an_event_that_fails_changes_nothing(tmp_path: Path) -> None:
    """The disk fills in the middle of a transaction: everything is as before, in memory too."""
    bench = Bench(tmp_path)
    bench.credit(1, "8.40")
    bench.db.execute(f"PRAGMA max_page_count = {bench.db.execute('PRAGMA page_count').fetchone()[0]}")
    full = False
    while not full:
        envelope = bench.instrument(1, "1")
        before = (bench.entries(), bench.balance(), bench.outbox(EntryKind.JOURNAL))
        try:
            bench.tell(p.InstrumentArrived(envelope))
        except sqlite3.OperationalError:
            full = True
    assert (bench.entries(), bench.balance(), bench.outbox(EntryKind.JOURNAL)) == before
    bench.db.execute("PRAGMA max_page_count = 100000")
    bench.tell(p.InstrumentArrived(envelope))
    assert bench.balance() == before[1] + nano("1")
    assert bench.replayed()[1] is None


CHILD = """
import sys
from pathlib import Path
from support.prepay_bench import Bench, HOUR_MS
bench = Bench(Path(sys.argv[1]), 3)
print("ready", flush=True)
wh, gseq = 1_000_000, 0
while True:
    gseq += 1
    for meter in (1, 2, 3):
        bench.credit(meter, "1.000000001", gseq)
        print(meter, gseq, flush=True)
    bench.wait(60_000)
    wh += 37
    bench.read_all(wh)
"""


@pytest.mark.parametrize("after_credits", [1, 7, 20, 41])
def test_kill_9_at_any_moment_leaves_every_chain_whole_and_no_told_money_lost(tmp_path: Path, after_credits: int) -> None:
    path = os.pathsep.join(str(ROOT / part) for part in ("shared", "native", "edge", "cloud", "tests"))
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        told = [child.stdout.readline().split() for _ in range(after_credits)]
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: child.poll() is not None, 10)
    bench = Bench.__new__(Bench)
    bench.path, bench.boots, bench.effects, bench.now_ms = tmp_path / "money.db", 7, [], 2_000_000_000_000
    bench.open()
    for meter in (1, 2, 3):
        state, problem = bench.replayed(meter)
        assert problem is None
        assert state.balance_nano == bench.balance(meter)
        assert state.used.prefix >= max((int(g) for m, g in told if int(m) == meter), default=0)
        sent = [b for r in bench.outbox(EntryKind.JOURNAL) if r.account_no == 100 + meter for b in r.entries]
        assert sent == [e.to_bytes() for e in bench.entries(meter)]
