"""Virtual time: continuous over a change of speed, the same in every process."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

from gridtally_shared.clock import ManualClock, Segment, SharedClock, SystemClock, clock_from
from support.waiting import wait_until

START = 1_795_305_600_000


def test_a_segment_runs_at_its_factor() -> None:
    assert Segment(1_000_000_000, START, 960.0).at(2_000_000_000) == START + 960_000


def test_time_passes_faster(tmp_path: Path) -> None:
    clock = SharedClock.create(tmp_path / "clock.json", START, 10_000.0)
    wait_until(lambda: clock.now_ms() > START + 1_000, 5)
    assert clock.factor() == 10_000.0


def test_a_change_of_speed_never_jumps_and_never_goes_back(tmp_path: Path) -> None:
    clock = SharedClock.create(tmp_path / "clock.json", START, 5_000.0)
    clock.set_factor(1.0)
    seen = [clock.now_ms()]

    def slowed() -> bool:
        seen.append(clock.now_ms())
        return clock.factor() == 1.0

    wait_until(slowed, 5)
    steps = [b - a for a, b in itertools.pairwise(seen)]
    assert min(steps) >= 0
    assert max(steps) < 5_000 * 200, "a step larger than 200 ms of real time can explain"


def test_another_process_reads_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    clock = SharedClock.create(path, START, 1.0)
    code = f"from gridtally_shared.clock import clock_from; print(clock_from({str(path)!r}).now_ms())"
    before = clock.now_ms()
    other = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert before <= other <= clock.now_ms()


def test_the_configuration_chooses(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    SharedClock.create(path, START, 1.0)
    assert isinstance(clock_from(str(path)), SharedClock)
    assert isinstance(clock_from(None), SystemClock)


def test_a_manual_clock_is_wound_by_hand() -> None:
    clock = ManualClock(5)
    clock.advance(10)
    assert clock.now_ms() == 15
