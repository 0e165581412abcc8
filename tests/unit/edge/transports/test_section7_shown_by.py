"""What issue 3 asks to be shown of a bus: one dead meter of 32, five per cent dead meters, a bus pulled for an hour."""

import time
from pathlib import Path

import pytest

from gridtally_edge.polling.gaps import Span
from gridtally_edge.polling.poll import Fault as PollFault
from gridtally_edge.polling.poll import PollRequest, PollResult, poll
from gridtally_edge.simulators.bus import SimBus, Station, Timing
from gridtally_edge.simulators.dlms_slave import DlmsSlave, DlmsUnit
from gridtally_edge.simulators.faults import Fault, FaultKind
from gridtally_edge.simulators.ports import PtyPort
from gridtally_edge.transports import breaker
from gridtally_edge.transports.arbiter import Priority
from gridtally_edge.transports.breaker import LONGEST_S, Breaker, Event, State, advance
from gridtally_edge.transports.line import LineState
from gridtally_edge.transports.pace import KNOWN_AFTER, Pace
from gridtally_edge.transports.serial_bus import SerialBus
from gridtally_edge.transports.settings import LineSettings
from gridtally_shared.errors import LinkDown
from support.little_street import QUARTER_MS, START_MS, LittleStreet, little_street
from support.waiting import wait_until

from .conftest import FAST, TIMEOUT_MS, Bench

pytestmark = pytest.mark.quiet

PATIENCE_S = 20
IMPORT = 11
DEAD = 17


def one_round(there: Bench, number: int) -> float:
    """Ask everybody once; seconds until the last living meter has answered. Returns when the dead one is settled too."""
    began_s = time.monotonic()
    futures = {unit: there.ask(unit, address=number) for unit in there.slaves}
    for unit, future in futures.items():
        if unit != DEAD:
            assert future.result(PATIENCE_S) == (number, number)
    took_s = time.monotonic() - began_s
    if DEAD in futures:
        futures[DEAD].exception(PATIENCE_S)
    return took_s


def test_one_dead_meter_of_32_delays_the_other_31_by_at_most_one_time_out_a_probe(bench, monkeypatch):
    monkeypatch.setattr(breaker, "FIRST_S", 0.5)
    there = bench(units=32, timing=Timing(turnaround_ms=1))
    healthy_s = max(one_round(there, number) for number in range(2))
    there.far.faults.add(Fault(FaultKind.MUTE, meter=str(DEAD)))
    slack_s, timeout_s = 1.0 * healthy_s, TIMEOUT_MS / 1000
    for number in range(8):
        asked = len(there.slaves[DEAD].asked)
        round_s = one_round(there, number)
        tried = min(1, len(there.slaves[DEAD].asked) - asked)
        assert round_s <= healthy_s + slack_s + tried * timeout_s, "its repetitions wait behind the others"
    dead = there.line.breakers()[f"unit {DEAD}"]
    assert dead.state is State.SILENT
    assert len(there.slaves[DEAD].asked) <= 2 + 3 + dead.failures, "three tries of the first round, then single probes"


def test_a_bus_with_five_per_cent_dead_meters_loses_at_most_five_per_cent_of_its_round_after_learning():
    """247 meters, 12 of them dead, a round of 33 s (performance.md 5), by a clock wound by hand: pure breakers and paces."""
    round_s, timeout_s, dead = 33.0, 0.5, [Breaker() for _ in range(12)]
    now_s, lost_s = 0.0, []
    for _ in range(60):
        lost = 0.0
        for number, known in enumerate(dead):
            if known.state is State.SILENT and not known.may_speak(now_s):
                continue
            probe = known.state is State.SILENT
            trying = advance(known, Event.PROBE_STARTED, now_s) if probe else known
            lost += timeout_s * (1 if probe else 3)
            dead[number] = advance(trying, Event.STAYED_SILENT, now_s + lost)
        lost_s.append(lost)
        now_s += round_s + lost
    learnt = lost_s[1:]
    assert sum(learnt) / (len(learnt) * round_s) <= 0.05
    assert now_s > 2 * LONGEST_S


def test_probing_takes_at_most_a_twentieth_of_a_busy_bus(bench, monkeypatch):
    """Two of 40 meters are dead and always due for a probe; the queue is never empty."""
    monkeypatch.setattr(breaker, "FIRST_S", 0.01)
    monkeypatch.setattr(breaker, "LONGEST_S", 0.01)
    there = bench(units=40, timing=Timing(turnaround_ms=2))
    for unit in (DEAD, DEAD + 1):
        there.far.faults.add(Fault(FaultKind.MUTE, meter=str(unit)))
        there.ask(unit, retries=0).exception(PATIENCE_S)
    probed, began_s = there.line.health().statistics.timeouts, time.monotonic()
    rounds = [[there.ask(unit, retries=0) for unit in there.slaves] for _ in range(2)]
    for _ in range(8):
        oldest = rounds.pop(0)
        rounds.append([there.ask(unit, retries=0) for unit in there.slaves])
        for unit, future in enumerate(oldest, start=1):
            if unit not in (DEAD, DEAD + 1):
                future.result(PATIENCE_S)
    elapsed_s = time.monotonic() - began_s
    probes = there.line.health().statistics.timeouts - probed
    assert probes * TIMEOUT_MS / 1000 <= 0.05 * elapsed_s + 2 * TIMEOUT_MS / 1000
    assert there.line.health().statistics.answers >= 8 * 38


def test_dead_meters_cost_no_byte_between_two_probes(bench):
    there = bench(units=20)
    there.far.faults.add(Fault(FaultKind.MUTE, meter=str(DEAD)))
    one_round(there, 0)
    wait_until(lambda: there.line.health().silent == (f"unit {DEAD}",), PATIENCE_S)
    sent, retries = there.line.health().statistics.bytes_sent, there.line.health().statistics.retries
    for number in range(4):
        one_round(there, number)
    statistics = there.line.health().statistics
    assert statistics.bytes_sent - sent == 8 * (4 * 19 + statistics.retries - retries)
    assert there.line.health().statistics.refused_silent == 4


@pytest.mark.parametrize("turnaround_ms", [0.0, 20.0, 80.0])
def test_the_time_out_follows_the_meters_own_delay_within_bounds(turnaround_ms):
    pace = Pace()
    assert pace.timeout_s(1.0) == 1.0, "a stranger gets what its protocol says"
    for _ in range(2 * KNOWN_AFTER):
        pace.late(turnaround_ms / 1000, 0.1)
    assert 0.150 <= pace.timeout_s(1.0) <= max(0.150, 4.5 * turnaround_ms / 1000)
    assert pace.timeout_s(0.1) == 0.1, "never more than the protocol wants"


def test_a_line_wakes_when_the_answer_is_there_once_it_knows_the_meter():
    pace, turnaround_s, travel_s = Pace(), 0.020, 0.100
    early = 0
    for number in range(400):
        if pace.lag_s >= turnaround_s:
            pace.on_time()
        else:
            early += number >= 100
            pace.late(turnaround_s, travel_s)
    assert early <= 12, "at most one answer in twenty-five costs a second wake-up"
    assert pace.lag_s <= turnaround_s + 0.01 * travel_s, "and the line loses less than a per cent of the exchange"


# ---- a bus pulled for an hour ------------------------------------------------------------------------------------


class PolledOverALine:
    """The polls of a street of DLMS meters, over a real line on a pty; the clock is the street's."""

    def __init__(self, street: LittleStreet, folder: Path) -> None:
        self._street = street
        slave = DlmsSlave([DlmsUnit(house, number) for number, house in enumerate(street.houses.values(), start=1)])
        self.far = SimBus("dlms", PtyPort(folder / "line"), [Station(slave, lambda answer: "any")])
        self.far.start()
        self.line = SerialBus(LineSettings("dlms", self.far.port.address(), FAST, reopen_first_s=0.02, reopen_longest_s=0.1))
        self.line.start()

    def poll(self, key: str, request: PollRequest) -> PollResult:
        street = self._street
        street.asked.append((key, request))
        conversation = poll(street.ports[key], request, street.clock.now_ms)
        try:
            return self.line.submit(conversation, Priority.PROFILE, key).result(PATIENCE_S)
        except LinkDown as error:
            return PollResult(street.clock.now_ms(), PollFault.SILENT, str(error))

    def close(self) -> None:
        self.line.close()
        self.far.close()


def test_after_a_bus_was_pulled_for_an_hour_every_interval_is_there(tmp_path, monkeypatch):
    with little_street(tmp_path, dlms=3) as street:
        over = PolledOverALine(street, tmp_path)
        monkeypatch.setattr(street, "_poll", over.poll)
        street.connect()
        street.configure()
        street.next_quarter(2)
        over.far.unplug()
        street.next_quarter(4)
        assert over.line.health().state is LineState.DOWN
        assert over.line.health().statistics.losses == 1
        over.far.plug()
        wait_until(lambda: over.line.health().state is LineState.UP, PATIENCE_S)
        street.next_quarter(2)
        over.close()
        for number, key in enumerate(street.houses, start=1):
            span = Span(START_MS, START_MS + 8 * QUARTER_MS)
            stored = street.core.journal.stored_starts(number, IMPORT, span)
            assert stored == set(range(span.from_ms, span.to_ms, QUARTER_MS)), key
        assert over.line.health().silent == (), "the line's absence is not held against its meters"
