"""One small world for the scenarios of a session; each test takes a home of its own (see support/world.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.world import World, running_world


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Four homes with a supply switch on a DLMS line, two without on a Modbus line, all of them prepaid or billed."""
    with running_world() as made:
        yield made
