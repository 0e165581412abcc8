"""Fixtures every test may use, and which tests run beside each other.

* `make test` gives each file to one worker (`--dist loadfile`), since its fixtures are dear; files that live in the one small world
  follow each other.
* The longest go first, so that no worker waits for the other at the end.
* The seeds of the simulation are counted at the end.
* Property tests have no deadline of their own: what takes long is measured where it is meant to be.
* Stores that a test leaves to the collector keep their files open until it comes by, which in a large process is seldom: a
  worker once had more than 1,023. It is called when there are many.
* Tests marked `quiet` measure time on a paced line: `make test` runs them alone, after the others.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support.brokers import KINDS, Broker, running

LONGEST_FIRST = (
    "test_chain_kill", "test_consumer_pages", "test_meter_service", "test_fuzz", "test_seeds", "test_broker_amnesia", "test_chain",
    "test_more_seeds", "world", "test_browser", "test_cloud_kill", "test_edge_kill", "test_agent_process", "test_provisioning",
    "test_conservation",
)  # fmt: skip

MANY_FILES = 200

settings.register_profile("loaded machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(_company(item)))


def _company(item: pytest.Item) -> str:
    return "world" if "world" in getattr(item, "fixturenames", ()) else item.path.stem


def _rank(company: str) -> int:
    return LONGEST_FIRST.index(company) if company in LONGEST_FIRST else len(LONGEST_FIRST)


def pytest_runtest_logfinish() -> None:
    if len(os.listdir("/proc/self/fd")) > MANY_FILES:
        gc.collect()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the seeds of the simulation came to, with their number."""
    told = [text for r in terminalreporter.stats.get("passed", []) for name, text in r.user_properties if name == "simulation"]
    for text in told:
        terminalreporter.write_line(f"simulation: {text}")


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A running MQTT 5 broker; the test runs once on the embedded one and once on Mosquitto."""
    with running(request.param) as started:
        yield started
