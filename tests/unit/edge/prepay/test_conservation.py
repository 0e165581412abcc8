"""Random lives of accounts: money is conserved, the register is the witness, a crash changes nothing.

Invariants of prepayment.md 5.10: I1, I2, I5, I6, I7, I9, I15, I17, I20, I21.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gridtally_edge.drivers.model import SwitchState
from gridtally_edge.prepay import events as p
from gridtally_edge.prepay.events import SwitchResult
from gridtally_shared.contract.messages import ClockState, EntryKind, InstrumentType
from gridtally_shared.ledger.entries import Kind, Pool
from gridtally_shared.ledger.evidence import DecisionEvidence, evidence_of
from support.prepay_bench import Bench, tariff

FIXED = (tariff(fixed_per_day="1.5", tax_percent="7.25"),)


class Lives(RuleBasedStateMachine):
    """One account; instruments may come twice, late, in any order; the process may die between any two events."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="gridtally-lives-"))
        self.bench = Bench(self.folder, 1, {}, FIXED)
        self.issued: dict[int, tuple[int, bytes]] = {}
        self.delivered: set[int] = set()
        self.wh = self.opened_wh = 1_000_000
        self.open_order: p.RunSwitch | None = None
        self.is_open = False
        self.issue(20_000_000_000)
        self.bench.tell(p.InstrumentArrived(self.issued[1][1]))

    def teardown(self) -> None:
        self.bench.db.close()
        shutil.rmtree(self.folder)

    def _collect(self) -> None:
        orders = self.bench.orders()
        if orders:
            assert self.open_order is None, "a second order while one is under way"
            assert len(orders) == 1
            self.open_order = orders[0]
        self.bench.effects.clear()

    @rule(amount=st.integers(1, 40_000_000_000))
    def issue(self, amount: int) -> None:
        gseq = len(self.issued) + 1
        self.issued[gseq] = (amount, self.bench.instrument(1, "0", gseq, amount_nano=amount))

    @rule(amount=st.integers(1, 60_000_000_000))
    def issue_refund(self, amount: int) -> None:
        gseq = len(self.issued) + 1
        envelope = self.bench.instrument(1, "0", gseq, amount_nano=-amount, type=InstrumentType.REFUND)
        self.issued[gseq] = (-amount, envelope)

    @precondition(lambda self: self.issued)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        gseq = data.draw(st.sampled_from(sorted(self.issued)))
        self.bench.tell(p.InstrumentArrived(self.issued[gseq][1]))
        self.delivered.add(gseq)
        self._collect()

    @rule(use_wh=st.integers(0, 9_000), minutes=st.integers(6, 90), fit=st.booleans())
    def use_and_read(self, use_wh: int, minutes: int, fit: bool) -> None:
        """`fit`: after the DCU heard a clock and the cloud, as it does most of the time."""
        if fit:
            self.bench.trust()
            self.bench.online()
            self._collect()
        self.bench.now_ms += minutes * 60_000
        self.wh += 0 if self.is_open else use_wh
        self.bench.read(1, self.wh, SwitchState.OPEN if self.is_open else SwitchState.CLOSED)
        self._collect()

    @rule(minutes=st.one_of(st.integers(1, 30), st.integers(1, 3_000)))
    def time_passes(self, minutes: int) -> None:
        self.bench.wait(minutes * 60_000)
        self._collect()

    @rule(wrong=st.sampled_from([{"serial": "GT9999"}, {"quality": 8}, {"register_wh": 10}]))
    def read_nonsense(self, wrong: dict) -> None:
        self.bench.tell(self.bench.meter_read(1, 77_000_000, SwitchState.UNKNOWN, **wrong))
        self._collect()

    @rule()
    def noise(self) -> None:
        self.bench.tell(p.InstrumentArrived(b"\x84\x40\xa0\x41\x00\x40"))
        self._collect()

    @rule(up=st.booleans())
    def link(self, up: bool) -> None:
        if up:
            self.bench.online()
        else:
            self.bench.offline()
        self._collect()

    @rule()
    def trust(self) -> None:
        self.bench.trust()
        self._collect()

    @precondition(lambda self: not self.is_open)
    @rule()
    def use_a_lot(self) -> None:
        self.use_and_read(9_000, 90, True)
        if self.open_order is not None:
            self.line_answers(SwitchResult.DONE)

    @rule()
    def pay_well(self) -> None:
        self.issue(90_000_000_000)
        for gseq in sorted(self.issued):
            self.bench.tell(p.InstrumentArrived(self.issued[gseq][1]))
            self._collect()

    @precondition(lambda self: self.open_order is not None)
    @rule(result=st.sampled_from([SwitchResult.DONE, SwitchResult.NO_ANSWER, SwitchResult.STUCK, SwitchResult.UNKNOWN]))
    def line_answers(self, result: SwitchResult) -> None:
        order, self.open_order = self.open_order, None
        assert order is not None
        granted = order.permit.granted() and self.bench.now_ms <= order.latest_ms
        if result is SwitchResult.DONE and not granted:
            result = SwitchResult.WITHDRAWN
        if result is SwitchResult.DONE:
            self.is_open = not order.close
        self.bench.finish(result, order, sent=result in (SwitchResult.DONE, SwitchResult.STUCK, SwitchResult.UNKNOWN))
        self._collect()

    @rule(acted=st.booleans())
    def crash(self, acted: bool) -> None:
        """The order may have reached the meter or not; its answer is lost."""
        if self.open_order is not None and acted:
            self.is_open = not self.open_order.close
        self.open_order = None
        self.bench.restart()
        assert self.bench.orders() == []
        self.bench.effects.clear()

    @invariant()
    def chain_cache_and_register_agree(self) -> None:
        state, problem = self.bench.replayed()
        assert problem is None
        assert state.balance_nano == self.bench.balance()
        assert sum(state.pools.values()) == 0
        assert state.charged_wh <= self.wh - self.opened_wh

    @invariant()
    def each_instrument_counts_once(self) -> None:
        used = [e.gseq for e in self.bench.entries() if e.kind in (Kind.CREDIT, Kind.REFUND)]
        assert len(used) == len(set(used))
        received = -self.bench.replayed()[0].pools.get(Pool.RECEIVED, 0)
        assert received == sum(self.issued[g][0] for g in used)

    @invariant()
    def everything_written_is_on_its_way_up(self) -> None:
        sent = [b for r in self.bench.outbox(EntryKind.JOURNAL) for b in r.entries]
        assert sent == [e.to_bytes() for e in self.bench.entries()]

    @invariant()
    def no_cut_without_a_believed_clock(self) -> None:
        order = self.open_order
        if order is not None and not order.close and order.permit.granted() and self.bench.now_ms <= order.latest_ms:
            cut = [e for e in self.bench.entries() if e.cause == order.action_id]
            evidence = evidence_of(cut[0])
            assert isinstance(evidence, DecisionEvidence)
            assert all(t.holds for t in evidence.tests)
            assert not any(ClockState.UNTRUSTED.name.lower() in t.seen for t in evidence.tests)


Lives.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLives = Lives.TestCase
