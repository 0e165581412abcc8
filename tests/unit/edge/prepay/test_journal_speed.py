"""A modest guard: what the benchmark measures does not become several times slower unseen. CPU time, so that the load matters less."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.journal_speed import measure

LEAST_PER_CPU_S = 120
MOST_WAL_BYTES = 12_000


@pytest.mark.quiet
def test_sweeps_write_the_journal_no_several_times_slower_than_measured(tmp_path: Path) -> None:
    speed = measure(tmp_path, 100, 8)
    assert speed.entries == 800
    assert speed.per_cpu_s > LEAST_PER_CPU_S
    assert speed.body_bytes < 256
    assert speed.wal_bytes < MOST_WAL_BYTES
