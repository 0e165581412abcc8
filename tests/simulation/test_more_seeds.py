"""The other half of the seeds, in a file of its own so that the other worker takes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.seed_share import ALONE, live_seeds


@pytest.mark.timeout(900)
def test_every_invariant_holds_after_every_step(record_property: Callable[[str, object], None]) -> None:
    live_seeds(ALONE, 501, record_property)
