"""Fixtures every test may use: a broker of each kind, and the shared data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.brokers import KINDS, Broker, running


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A running MQTT 5 broker; the test runs once on the embedded one and once on Mosquitto."""
    with running(request.param) as started:
        yield started
